"""What a recipe found, as plain values. No torch here."""

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tdq_core.intervals import paired_mean
from tdq_core.recipe.target import Target
from tdq_core.records import RunRecord

Interval = tuple[float, float, float]


@dataclass(frozen=True)
class Pick:
    """One measured run in the light of the target.

    Attributes:
        arm: name of its pipeline; ratio: asked for, None for the dense model.
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


@dataclass(frozen=True)
class Report:
    """The answer to one target.

    Attributes:
        chosen: the best that meets the target; None where nothing that was tried does.
        alternatives: up to three next-best ones, of other pipelines or ratios.
        study: the best of the study's own pipeline, whether it meets the target or not.
        tried: every run that was looked at, in order.
        n_choose, n_verify: images of the two halves.
        sentences: why, one a choice.
    """

    target: str
    model: str
    data: str
    chosen: Pick | None
    alternatives: tuple[Pick, ...]
    study: Pick | None
    tried: tuple[Pick, ...]
    n_choose: int
    n_verify: int
    sentences: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=1, allow_nan=False)


def pick(record: RunRecord, arm: str, ratio: float | None, target: Target) -> Pick:
    """A complete `record` judged on every other image, and on those between."""
    m, base = record.metrics, record.baseline
    assert m and base, "only complete runs are judged"
    lost = base.correct().astype(np.float64) - m.correct().astype(np.float64)
    first, second = paired_mean(lost[0::2]), paired_mean(lost[1::2])
    latency = float(m.latency["median_ms"]) if m.latency else None
    return Pick(record.run_id, arm, ratio, m.bytes, record.bytes_ratio(), m.compression_ratio, latency, first, second,
                target.met_by(record, first[0]), target.met_by(record, second[0]))  # fmt: skip


def best_first(picks: list[Pick], target: Target) -> list[Pick]:
    """Those that meet the target first: the smallest where it bounds the drop, else those that lose least."""

    def size(p: Pick) -> tuple[float, float]:
        return (p.bytes, p.chosen_drop[0]) if target.smallest_wins else (p.chosen_drop[0], p.bytes)

    return sorted(picks, key=lambda p: (not p.met, *size(p)))


def write_up(target: Target, record: RunRecord, tried: list[Pick]) -> Report:
    """The report on everything that was `tried`; `record` is any of the runs."""
    ranked = best_first(tried, target)
    chosen = ranked[0] if ranked and ranked[0].met else None
    others = tuple(p for p in ranked if p is not chosen)[:3]
    study = next((p for p in ranked if p.arm == "study"), None)
    assert record.metrics
    n = record.metrics.n
    return Report(target.text, record.spec.model, record.spec.data, chosen, others, study, tuple(tried), (n + 1) // 2,
                  n // 2, tuple(_sentences(target, chosen, ranked)))  # fmt: skip


def _sentences(target: Target, chosen: Pick | None, ranked: list[Pick]) -> list[str]:
    if chosen is None:
        near = min(ranked, key=lambda p: p.chosen_drop[0])
        return [
            f"Nothing that was tried meets {target.text}; the least loss, {_points(near)}, is that of "
            f"{_name(near)} at {near.bytes_ratio:.1f}x."
        ]
    said = [
        f"{_name(chosen)} meets {target.text} on the images it was chosen on, losing {_points(chosen)}, in a file "
        f"{chosen.bytes_ratio:.1f}x smaller than dense fp32."
    ]
    middle, low, high = (100 * x for x in chosen.verified_drop)
    held = "and still meets it" if chosen.verified else "and no longer meets it: ask for a stricter target"
    said.append(f"On the other images it loses {middle:.2f} points [{low:.2f}, {high:.2f}] {held}.")
    for arm in dict.fromkeys(p.arm for p in ranked if p.arm != chosen.arm):
        met = [p for p in ranked if p.arm == arm and p.met]
        if met:
            said.append(
                f"{_name(met[0])} is the best of its pipeline that meets it: {met[0].bytes_ratio:.1f}x smaller."
            )
        else:
            least = min((p for p in ranked if p.arm == arm), key=lambda p: p.chosen_drop[0])
            said.append(
                f"The pipeline '{arm}' does not meet it: at {least.bytes_ratio:.1f}x it loses {_points(least)}."
            )
    return said


def _name(p: Pick) -> str:
    return f"'{p.arm}'" + (f" at ratio {p.ratio:g}" if p.ratio else "")


def _points(p: Pick) -> str:
    return f"{100 * p.chosen_drop[0]:.2f} points"
