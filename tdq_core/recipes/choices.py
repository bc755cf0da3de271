"""Measured runs in the light of a target. No torch here."""

import numpy as np

from tdq_core.recipes.target import Target
from tdq_core.records.record import Kept, RunRecord
from tdq_core.stats.intervals import paired_mean

Interval = tuple[float, float, float]


class Pick(Kept, frozen=True):
    """One measured run in the light of the target.

    Attributes:
        arm: name of its pipeline; ratio: asked for, None for the dense model.
        bytes_ratio: file of the dense model in fp32 (torch) / file; params_ratio: the same of params.
        latency_ms: median of a batch.
        chosen_drop: (drop, low, high) on the images that choices are made on, paired by image.
        verified_drop: the same on the others, which no choice has looked at.
        met: whether it meets the target on the images that choices are made on; verified: on the others.
    """

    run_id: str
    arm: str
    ratio: float | None
    bytes: int
    bytes_ratio: float
    params_ratio: float
    latency_ms: float | None
    chosen_drop: Interval
    verified_drop: Interval
    met: bool
    verified: bool


def pick(record: RunRecord, arm: str, ratio: float | None, target: Target) -> Pick:
    """A complete `record` judged on every other image, and on those between."""
    m, base = record.metrics, record.baseline
    assert m and base, "only complete runs are judged"
    lost = base.correct().astype(np.float64) - m.correct().astype(np.float64)
    first, second = paired_mean(lost[0::2]), paired_mean(lost[1::2])
    latency = m.latency.median_ms if m.latency else None
    return Pick(
        run_id=record.run_id, arm=arm, ratio=ratio, bytes=m.bytes, bytes_ratio=record.bytes_ratio(),
        params_ratio=m.compression_ratio, latency_ms=latency, chosen_drop=first, verified_drop=second,
        met=target.met_by(record, first[0]), verified=target.met_by(record, second[0]),
    )  # fmt: skip


def best_first(picks: list[Pick], target: Target) -> list[Pick]:
    """Those that meet the target first: the smallest where it bounds the drop, else those that lose least."""

    def size(p: Pick) -> tuple[float, float]:
        return (p.bytes, p.chosen_drop[0]) if target.smallest_wins else (p.chosen_drop[0], p.bytes)

    return sorted(picks, key=lambda p: (not p.met, *size(p)))
