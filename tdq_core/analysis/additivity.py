"""Do the drops of decomposition and of quantization add up? Four cells on the same images answer it. No torch here.

    dense (fp32)   --Q-->   quantized
      | TD                    | TD
    decomposed     --Q-->   decomposed and quantized

The joint drop D(TD + Q) is held against D(TD) + D(Q); their difference is the interaction. All of them are means
of per-image differences over the same images, so their intervals are paired. An image counts once in a drop and up to
twice in a sum or a difference of drops.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tdq_core.analysis.joint_moves import JointMove, NoMove, Three, joint_moves
from tdq_core.errors import InputError
from tdq_core.records.record import RunRecord
from tdq_core.specs import PrecisionSpec
from tdq_core.stats.equivalence import Equivalence, equivalence, holm, images_to_decide, sign_flip_p, z_of
from tdq_core.stats.intervals import counted, paired_mean, paired_means
from tdq_core.stats.score import Z95

FP32 = PrecisionSpec()
SHARE = 0.1
"""Of a sum of mean squared changes by which the joint one may miss it, where nobody says otherwise: a tenth of a drop
of ten points is one."""
Interval = tuple[float, float, float]
"""(estimate, low, high), 95 %, as a share of the images (0-1)."""


@dataclass(frozen=True)
class Cells:
    """Four complete runs on the same model and images.

    The fp32 cells come from torch whatever the backend of the quantized ones (every exported graph is checked
    against torch before it is trusted); the quantized cells share precision and backend.
    """

    dense: RunRecord
    decomposed: RunRecord
    quantized: RunRecord
    both: RunRecord

    def interaction(self, *, z: float = Z95) -> Interval:
        """D(TD + Q) - D(TD) - D(Q): positive where the two hurt each other more than they do apart."""
        return paired_mean(self.interactions(), largest=2, z=z)

    def interactions(self) -> np.ndarray:
        """The interaction of each image, whole numbers from -2 to 2."""
        return _interactions(*map(_correct, (self.dense, self.decomposed, self.quantized, self.both)))

    @property
    def changed(self) -> Three:
        """The three that are not the dense one."""
        return self.decomposed, self.quantized, self.both


class Drops(NamedTuple):
    """Of four cells: what each treatment loses alone, what the two lose in sum, D(TD) + D(Q), and together, D(TD + Q);
    paired by image, so that the sum's interval allows for the covariance of its parts."""

    decomposed: Interval
    quantized: Interval
    summed: Interval
    joint: Interval


def drops(found: Sequence[Cells]) -> list[Drops]:
    """Of each of the groups, all at once."""
    correct = _Outcomes()
    tables: tuple[list[np.ndarray], ...] = ([], [], [], [])
    for cells in found:
        dense, decomposed, quantized, both = correct.of(cells)
        ways = (dense - decomposed, dense - quantized, 2 * dense - decomposed - quantized, dense - both)
        for table, differences, largest in zip(tables, ways, _LARGEST, strict=True):
            table.append(counted(differences, largest))
    told = [paired_means(np.array(t), largest=m) for t, m in zip(tables, _LARGEST, strict=True)]
    return [Drops(*own) for own in zip(*told, strict=True)]


_LARGEST = (1, 1, 2, 1)
"""By how much an image can count in each of `Drops`."""


class _Outcomes:
    """Which images runs get right, unpacked once for the groups that share them."""

    def __init__(self) -> None:
        self._held: dict[int, np.ndarray] = {}

    def of(self, cells: Cells) -> tuple[np.ndarray, ...]:
        """Of the four of a group, each 0 or 1 as int8 of shape (n,)."""
        return tuple(map(self._one, (cells.dense, cells.decomposed, cells.quantized, cells.both)))

    def _one(self, record: RunRecord) -> np.ndarray:
        if (held := self._held.get(id(record))) is None:  # the groups hold it
            held = self._held[id(record)] = _correct(record)
        return held


def _correct(record: RunRecord) -> np.ndarray:
    assert record.metrics, "cells are complete runs"
    return record.metrics.correct().astype(np.int8)


def _interactions(dense: np.ndarray, decomposed: np.ndarray, quantized: np.ndarray, both: np.ndarray) -> np.ndarray:
    return decomposed + quantized - both - dense


def require_margin(margin: float) -> float:
    """`margin`, a share of the images; InputError where it is none."""
    if not 0 < margin < 1:
        raise InputError(f"The margin must be above 0 and below 100 points. Got {100 * margin:g}.")
    return margin


@dataclass(frozen=True)
class Judged:
    """Four cells, and what they say of the sum.

    Attributes:
        drops: with intervals of their own.
        interaction: with an interval that allows for all the groups that were looked at.
        verdict: of its size being within the margin; images: about how many would decide it, None: no such number.
        p: of an interaction as likely one way as the other, exact and corrected for the groups that were looked at.
        moved: the same in mean squared change of the logits, or why it is not told.
    """

    cells: Cells
    drops: Drops
    interaction: Interval
    verdict: Equivalence
    images: int | None
    p: float
    moved: JointMove | NoMove


def judged(found: Sequence[Cells], margin: float, share: float = SHARE) -> list[Judged]:
    """Each of the groups, held against `margin` (a share of the images, 0-1) and, in mean squared change, against
    `share` (of the sum, 0-1), all of them looked at together."""
    if not found:
        return []
    correct = _Outcomes()
    tables = np.array([counted(_interactions(*correct.of(cells)), 2) for cells in found])
    intervals, ps = paired_means(tables, largest=2, z=z_of(len(found))), holm(np.array([_p_of(t) for t in tables]))
    moves = joint_moves([cells.changed for cells in found], share)
    rows = []
    for cells, lost, table, interval, p, moved in zip(found, drops(found), tables, intervals, ps, moves, strict=True):
        images = images_to_decide(interval, margin, int(table.sum()))
        rows.append(Judged(cells, lost, interval, equivalence(interval, margin), images, float(p), moved))
    return rows


def _p_of(table: np.ndarray) -> float:
    """Of so many interactions of -2, -1, 0, 1 and 2."""
    return sign_flip_p(np.repeat(np.arange(-2, 3), table))


def find_cells(records: Iterable[RunRecord]) -> list[Cells]:
    """Every group of four cells among `records`, in their order; incomplete runs and groups are left out."""
    complete = [r for r in records if r.state == "complete"]
    by_key = {_key(r, r.spec.decomposition is not None, r.spec.precision): r for r in complete}
    found = []
    for both in complete:
        spec = both.spec
        if spec.decomposition is None or spec.precision.name == "fp32":
            continue
        parts = (
            by_key.get(_key(both, False, FP32)),
            by_key.get(_key(both, True, FP32)),
            by_key.get(_key(both, False, spec.precision)),
        )
        if parts[0] and parts[1] and parts[2]:
            found.append(Cells(parts[0], parts[1], parts[2], both))
    return found


def _key(record: RunRecord, decomposed: bool, precision: PrecisionSpec) -> tuple[object, ...]:
    """Model and images by content, and the cell; the calibration images too where its integers hang on them."""
    spec, digests, integer = record.spec, record.digests, precision.numbers.integer
    cell = precision if integer else PrecisionSpec(precision.name, precision.backend)
    treatment = spec.treatment
    factors = (spec.decomposition, treatment.finetune, treatment.reestimate_bn, spec.seed) if decomposed else ()
    conditioned = treatment.condition if integer and decomposed else None
    calib = digests.get("calib") if integer and precision.looks_at_images else None
    return digests["model"], digests["data"], factors, cell, calib, conditioned
