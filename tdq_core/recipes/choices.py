"""Measured runs in the light of a target. No torch here."""

import numpy as np

from tdq_core.errors import InputError
from tdq_core.recipes.target import Target
from tdq_core.records.bounds import Amount, Id, Named, Points, Positive, Ratio
from tdq_core.records.record import Kept, RunRecord
from tdq_core.stats.intervals import paired_mean
from tdq_core.stats.score import Z90_ABOVE
from tdq_core.stats.verdict import Verdict, verdict

Interval = tuple[Points, Points, Points]
LEAST_IMAGES = 4
"""Two to choose on and two to verify on."""


class Pick(Kept, frozen=True, omit_defaults=True):
    """One measured run in the light of the target.

    Attributes:
        arm: name of its pipeline; ratio: asked for, None for the dense model.
        bytes_ratio: file of the dense model in fp32 (torch) / file; params_ratio: the same of params.
        latency_ms: median of a batch.
        told_ms: of a call by the times of its layers, where the recipe goes by these.
        chosen_drop: (drop, low, high) on the images that choices are made on, paired by image.
        verified_drop: the same on the others, which no choice has looked at.
        met: whether it meets the target on the images that choices are made on: a bound on the drop must lie above
            what the drop exceeds in about one case of ten, so that luck alone is seldom chosen.
        verified: whether it meets the target on the others, by the middle of the interval; see `verdict_on`.
    """

    run_id: Id
    arm: Named
    ratio: Ratio | None
    bytes: Positive
    bytes_ratio: Ratio
    params_ratio: Ratio
    latency_ms: Amount | None
    chosen_drop: Interval
    verified_drop: Interval
    met: bool
    verified: bool
    told_ms: Amount | None = None


def pick(
    record: RunRecord, arm: str, ratio: float | None, target: Target, *, looked_at: np.ndarray | None = None,
    told_ms: float | None = None,
) -> Pick:  # fmt: skip
    """A complete `record` judged on the images that choices look at, and on the others.

    Args:
        looked_at: which images choices look at, bool of shape (n,); None: every other one, from the first.
        told_ms: of a call, by the times of its layers.

    Raises:
        InputError: too few images to choose on some and verify on others.
    """
    m, base = record.metrics, record.baseline
    assert m and base, "only complete runs are judged"
    require_images(m.n)
    lost = base.correct().astype(np.float64) - m.correct().astype(np.float64)
    looked_at = np.arange(m.n) % 2 == 0 if looked_at is None else looked_at
    first, second = paired_mean(lost[looked_at]), paired_mean(lost[~looked_at])
    latency = m.latency.median_ms if m.latency else None
    return Pick(
        run_id=record.run_id, arm=arm, ratio=ratio, bytes=m.bytes, bytes_ratio=record.bytes_ratio(),
        params_ratio=m.compression_ratio, latency_ms=latency, chosen_drop=first, verified_drop=second,
        met=target.met_by(record, paired_mean(lost[looked_at], z=Z90_ABOVE)[2], told_ms),
        verified=target.met_by(record, second[0], told_ms), told_ms=told_ms,
    )  # fmt: skip


def verdict_on(p: Pick, target: Target) -> Verdict:
    """What the images that no choice has looked at say of the target; sizes and times are plain numbers."""
    if target.kind == "drop":
        return verdict(p.verified_drop, target.limit)
    return Verdict.SHOWN if p.verified else Verdict.MISSED


def require_images(n: int) -> None:
    """Refuse sets of images that are too small to be halved."""
    if n < LEAST_IMAGES:
        raise InputError(
            "A recipe chooses on one half of the images and verifies on the other, which takes at least "
            f"{LEAST_IMAGES} images ('samples'). Got {n}."
        )


def best_first(picks: list[Pick], target: Target) -> list[Pick]:
    """Those that meet the target first: the smallest where it bounds the drop, or the fastest where times are told;
    else those that lose least."""

    def size(p: Pick) -> tuple[float, float]:
        if target.smallest_wins and p.told_ms is not None:
            return (p.told_ms, p.chosen_drop[0])
        return (p.bytes, p.chosen_drop[0]) if target.smallest_wins else (p.chosen_drop[0], p.bytes)

    return sorted(picks, key=lambda p: (not p.met, *size(p)))
