"""What an export tells of itself, `export.json` beside the file: enough to check it anywhere. No torch here."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from tdq_core.errors import InputError
from tdq_core.records.bounds import Amount, Named, Natural, Positive
from tdq_core.records.record import Kept, read_kept, require_schema
from tdq_core.records.store import runs_folder
from tdq_core.specs.formats import FORMATS
from tdq_core.specs.option import require_choice
from tdq_core.specs.precision import PRECISIONS
from tdq_core.specs.preprocessing import Preprocessing
from tdq_core.stats.intervals import pack_outcomes, unpack_outcomes, wilson
from tdq_core.system.reading import Damaged, read_json

NAME = "export.json"
SCHEMA = 1


class Seen(Kept, frozen=True):
    """Images that an export was measured on, and what it made of them.

    Attributes:
        source: their name, as `--data` takes it; None: they were given in Python.
        digest: SHA-256 of labels and contents in order; samples, seed: how a subset was drawn.
        outcomes: per-image right or wrong, packed, see `intervals.pack_outcomes`.
    """

    source: str | None
    digest: str
    n: Positive
    samples: Positive | None
    seed: Natural
    outcomes: str

    @classmethod
    def of(cls, correct: np.ndarray, **fields: Any) -> "Seen":
        return cls(n=len(correct), outcomes=pack_outcomes(correct), **fields)

    def correct(self) -> np.ndarray:
        """bool of shape (n,)."""
        return unpack_outcomes(self.outcomes, self.n)

    def score(self) -> tuple[float, float, float]:
        """Top-1 as a share, and its 95 % Wilson interval."""
        right = int(self.correct().sum())
        return right / self.n, *wilson(right, self.n)


class Told(Kept, frozen=True):
    """One export.

    Attributes:
        format: see `tdq_core.specs.formats`; file: its name; sha256, bytes: of the file.
        model: the network's name; precision: of its numbers.
        preprocessing: how images become inputs.
        logits: (2, classes), what the file answers to `noise(preprocessing)`.
        spread: the largest (max - min) of these.
        images: what it was scored on; None: no labelled images were there.
        run_id: of the record beside it; None: there is none.
        lowest_runtime: the first version that reads the file; None: it is not known.
        params, macs: of the network; settings: what was done to it, for people; made_with: versions and CPU.
    """

    format: Named
    file: Named
    sha256: Named
    bytes: Positive
    model: Named
    precision: Named
    preprocessing: Preprocessing
    logits: tuple[tuple[float, ...], ...]
    spread: Amount
    images: Seen | None
    run_id: str | None
    lowest_runtime: str | None
    params: Positive
    macs: Natural
    settings: str
    made_with: Mapping[str, Any]
    schema: Literal[1] = 1

    def to_json(self) -> str:
        return json.dumps(msgspec.to_builtins(self), indent=1, allow_nan=False)

    @classmethod
    def read(cls, folder: Path) -> "Told":
        """Of the export in `folder`; InputError where there is none, or a damaged one."""
        path = folder / NAME
        try:
            plain = read_json(path)
        except (OSError, Damaged) as error:
            raise InputError(
                f"The folder '{folder}' has no '{NAME}' that can be read: name a folder that `tdq export` wrote."
            ) from error
        require_schema(plain, SCHEMA, "exports")
        told = read_kept(plain, cls, f"an export of schema {SCHEMA}")
        _require_sound(told)
        if Path(told.file).name != told.file:
            raise InputError(
                f"The export '{path}' names '{told.file}', which lies outside of its folder: it is not read."
            )
        return told


def _require_sound(told: Told) -> None:
    """InputError where the parts of what was read do not fit each other."""
    require_choice("format", told.format, FORMATS)
    require_choice("precision", told.precision, PRECISIONS)
    if len(told.logits) != 2 or len({len(row) for row in told.logits}) != 1 or not told.logits[0]:
        raise InputError(f"This is not an export of schema {SCHEMA}: its logits are not those of two images.")
    try:
        _ = told.images and told.images.correct()
    except ValueError as error:
        raise InputError(f"This is not an export of schema {SCHEMA}: its outcomes are damaged.") from error


def export_folder(run_id: str, format: str) -> Path:
    """Where the page lets a run be exported to."""
    return runs_folder() / "exports" / f"{run_id}-{format}"


def noise(prepared: Preprocessing) -> np.ndarray:
    """Two images of noise as the network takes them, (2, C, H, W) float32, the same ones everywhere."""
    pixels = np.random.default_rng(0).random((2, *prepared.input_shape), dtype=np.float32)
    mean, std = (np.array(values, np.float32)[:, None, None] for values in (prepared.mean, prepared.std))
    return np.asarray((pixels - mean) / std, np.float32)
