"""Do the changes of the answers add up? What decomposition and rounding do to the logits, apart and together. No torch.

Two changes that have nothing to do with each other add up in their squares, as the sides of a right angle do: the mean
squared change of both is the sum of the two. It is more where the one makes the other worse or both move an answer the
same way, and less where they work against each other, or where answers are as far as they can go. It has far less
noise than top-1, which only counts the images whose answer has gone over an edge.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tdq_core.errors import InputError
from tdq_core.records.record import RunRecord
from tdq_core.stats.bootstrap import sums_intervals
from tdq_core.stats.equivalence import Equivalence, equivalence, images_to_decide, z_of
from tdq_core.stats.verdict import Interval

OLD = "a run was measured before TDQ kept how far answers move (`tdq run ... --again` measures it anew)"
BROKEN = "not all answers of a run are numbers"
STILL = "neither decomposing nor rounding moves any answer"


def require_share(share: float) -> float:
    """`share`, of a sum of changes; InputError where it is none."""
    if not 0 < share < 1:
        raise InputError(f"The share of the sum must be above 0 and below 100 %. Got {100 * share:g}.")
    return share


@dataclass(frozen=True)
class JointMove:
    """Mean squared changes of the logits against the dense network's, over their mean square.

    Attributes:
        decomposed, quantized, both: of the three runs that are changed.
        interaction: the change of both less the sum of the other two, with an interval that allows for all the groups
            that were looked at; share: that of the sum.
        verdict: of the share's size being within a margin; images: about how many would decide it, None: no such
            number.
    """

    decomposed: float
    quantized: float
    both: float
    interaction: Interval
    share: Interval
    verdict: Equivalence
    images: int | None

    @property
    def summed(self) -> float:
        return self.decomposed + self.quantized


@dataclass(frozen=True)
class NoMove:
    """Why nothing is told, and of which run."""

    run_id: str
    reason: str

    @property
    def text(self) -> str:
        return f"run {self.run_id[:8]}: {self.reason}"


Three = tuple[RunRecord, RunRecord, RunRecord]
"""Decomposed, quantized, and both, of one network on the same images."""


def joint_moves(found: Sequence[Three], margin: float) -> list[JointMove | NoMove]:
    """Of each group, all of them looked at together; `margin` is a share of the sum (0-1)."""
    told: list[JointMove | NoMove | None] = [_untold(three) for three in found]
    by_images: dict[int, list[int]] = {}
    for place, why in enumerate(told):
        if why is None:
            by_images.setdefault(len(_moves(found[place])[0]), []).append(place)
    z = z_of(sum(map(len, by_images.values())))
    for n, places in by_images.items():
        moves = np.array([_moves(found[place]) for place in places])  # (groups, 3, n)
        pairs = sums_intervals(moves[:, 2], moves[:, 0] + moves[:, 1], z=z)
        for place, own, (interaction, share) in zip(places, moves.mean(axis=2), pairs, strict=True):
            images = images_to_decide(share, margin, n)
            decomposed, quantized, both = map(float, own)
            told[place] = JointMove(decomposed, quantized, both, interaction, share, equivalence(share, margin), images)
    return [one for one in told if one is not None]


def _moves(three: Three) -> list[np.ndarray]:
    return [moves for run in three if run.metrics and (moves := run.metrics.moves()) is not None]


def _untold(three: Three) -> NoMove | None:
    moves = []
    for run in three:
        own = run.metrics.moves() if run.metrics else None
        if own is None:
            return NoMove(run.run_id, OLD)
        if not np.isfinite(own).all():
            return NoMove(run.run_id, BROKEN)
        moves.append(own)
    return None if moves[0].any() or moves[1].any() else NoMove(three[2].run_id, STILL)
