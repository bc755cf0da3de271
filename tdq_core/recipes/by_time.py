"""What a recipe by time chooses: told by the times of the layers, then timed in turn with dense INT8. No torch here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tdq_core.pipeline.speed.record import Race
from tdq_core.recipes.candidates import DENSE, FAST
from tdq_core.recipes.choices import Pick
from tdq_core.recipes.target import Call, Target

RIVAL = "dense"
"""The name of dense INT8 in a race."""


@dataclass(frozen=True)
class ByTime:
    """How times were come by.

    Attributes:
        layers_s: seconds that it took to time the layers; None: they were timed before.
        races: by run, of those that were timed in turn with dense INT8.
    """

    call: Call
    layers_s: float | None = None
    races: Mapping[str, Race] = field(default_factory=dict)


def next_to_race(ranked: Sequence[Pick], target: Target, races: Mapping[str, Race]) -> Pick | None:
    """Of `ranked` (best first) the one that the answer hangs on and that was not timed yet: the fastest of each
    pipeline, as told, until one is faster than dense INT8; or the answer to a latency."""
    if target.kind == "latency":
        best = ranked[0]
        return best if best.met and best.arm != DENSE.name and best.run_id not in races else None
    for p in _faster_as_told(ranked):
        if p.run_id not in races:
            return p
        if is_faster(races[p.run_id]):
            return None
    return None


def answer(ranked: Sequence[Pick], target: Target, races: Mapping[str, Race] | None) -> Pick | None:
    """What is chosen of `ranked` (best first); None where nothing meets the target. Where a drop is kept at the least
    time (`races` are there), nothing that was not seen to be faster than dense INT8."""
    met = [p for p in ranked if p.met]
    if races is None or target.kind != "drop":
        return met[0] if met else None
    fast = (p for p in met if p.arm == DENSE.name or (p.run_id in races and is_faster(races[p.run_id])))
    return next(fast, None)


def untried(tried: Sequence[Pick], target: Target) -> str | None:
    """Why pipelines by time have no run among those that were tried; None where all have one."""
    missing = [f"'{arm.name}'" for arm in FAST if arm.name not in {p.arm for p in tried}]
    if not missing:
        return None
    dense = next((p for p in tried if p.arm == DENSE.name), None)
    if target.kind == "latency" and dense and dense.met:
        return "Dense INT8 is told to be fast enough: nothing is decomposed."
    return f"No ratio of time that was looked at is within reach of {' and '.join(missing)} on this network."


def is_faster(race: Race) -> bool:
    """Than dense INT8, beyond the spread."""
    return race.ratios[RIVAL].verdict == "faster"


def _faster_as_told(ranked: Sequence[Pick]) -> list[Pick]:
    """The best of each pipeline that meets the target and is told to be faster than dense INT8."""
    limit = next((p.told_ms for p in ranked if p.arm == DENSE.name), None)
    best: dict[str, Pick] = {}
    for p in ranked:
        if p.met and p.arm != DENSE.name and p.told_ms is not None and (limit is None or p.told_ms < limit):
            best.setdefault(p.arm, p)
    return list(best.values())
