"""What is known of an int8 export on x86 CPUs without VNNI, `saturation.json` beside it. No torch here."""

import json
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from tdq_core.errors import InputError
from tdq_core.records.bounds import Amount, Named, Natural, Positive, Share
from tdq_core.records.record import Kept, read_kept, require_schema
from tdq_core.stats.intervals import pack_outcomes, paired_mean, unpack_outcomes, wilson
from tdq_core.stats.verdict import Interval
from tdq_core.system.reading import Damaged, read_json

NAME = "saturation.json"
SCHEMA = 1


class LayerLoss(Kept, frozen=True):
    """A layer whose sums saturate.

    Attributes:
        name: as its weights are named.
        pairs: of products that saturated, on all images.
        share: of the spread of its outputs, what they lost, root mean squares.
        answers: by how much the logits change where this layer alone saturates, of their spread, root mean squares over
            the first images.
    """

    name: Named
    pairs: Positive
    share: Share
    answers: Amount


class Saturation(Kept, frozen=True):
    """An export run both ways on the same images.

    Attributes:
        sha256: of the file; source, digest, n: of the images, see `told.Seen`.
        exact, saturating: per image right or wrong, packed: with VNNI, and without.
        layers: those that lose something, first those that change the answers most.
        of: how many layers there are with sums in pairs.
        seven_bits: layers whose weights are kept within 7 bits in this file.
    """

    sha256: Named
    source: str | None
    digest: Named
    n: Positive
    exact: Named
    saturating: Named
    layers: tuple[LayerLoss, ...]
    of: Natural
    seven_bits: tuple[Named, ...] = ()
    schema: Literal[1] = 1

    def score(self, way: Literal["exact", "saturating"]) -> Interval:
        """Top-1 as a share, and its 95 % Wilson interval."""
        right = int(self._outcomes(way).sum())
        return right / self.n, *wilson(right, self.n)

    def drop(self) -> Interval:
        """What is lost without VNNI, as a share of the images, and its paired 95 % interval."""
        return paired_mean(self._outcomes("exact").astype(np.int64) - self._outcomes("saturating"))

    def changed(self) -> int:
        """Images that are right one way and wrong the other."""
        return int((self._outcomes("exact") != self._outcomes("saturating")).sum())

    def sentence(self) -> str:
        """In words, for people."""
        (exact, _, _), (saturating, _, _), (lost, low, high) = (
            self.score("exact"),
            self.score("saturating"),
            self.drop(),
        )
        scores = f"With VNNI {100 * exact:.2f} %, on an x86 CPU without {100 * saturating:.2f} %"
        return f"{scores} (a drop of {100 * lost:+.2f} points [{100 * low:+.2f}, {100 * high:+.2f}], n = {self.n})"

    def _outcomes(self, way: Literal["exact", "saturating"]) -> np.ndarray:
        return unpack_outcomes(getattr(self, way), self.n)

    def to_json(self) -> str:
        return json.dumps(msgspec.to_builtins(self), indent=1, allow_nan=False)

    @classmethod
    def of_outcomes(cls, exact: np.ndarray, saturating: np.ndarray, **fields: object) -> "Saturation":
        """Of bool arrays (n,)."""
        return cls(n=len(exact), exact=pack_outcomes(exact), saturating=pack_outcomes(saturating), **fields)  # type: ignore[arg-type]

    @classmethod
    def read(cls, folder: Path) -> "Saturation | None":
        """Of the export in `folder`; None: it was not checked. InputError: what is there is damaged."""
        try:
            plain = read_json(folder / NAME)
        except FileNotFoundError:
            return None
        except (OSError, Damaged) as error:
            raise InputError(f"'{folder / NAME}' cannot be read: run `tdq saturation` again.") from error
        require_schema(plain, SCHEMA, "saturation checks")
        found = read_kept(plain, cls, f"a saturation check of schema {SCHEMA}")
        try:
            found.drop()
        except ValueError as error:
            raise InputError(f"This is not a saturation check of schema {SCHEMA}: its outcomes are damaged.") from error
        return found
