"""A recipe's choices in sentences. No torch here."""

from collections.abc import Iterator, Sequence

from tdq_core.pipeline.speed.record import Race
from tdq_core.recipes.by_time import RIVAL, ByTime, untried
from tdq_core.recipes.candidates import DENSE
from tdq_core.recipes.choices import Pick, verdict_on
from tdq_core.recipes.target import Target
from tdq_core.records.bounds import Named, Points, Ratio
from tdq_core.records.record import Kept
from tdq_core.stats.verdict import Verdict, images_to_settle


class Cut(Kept, frozen=True, omit_defaults=True):
    """A pipeline of which only larger ratios were looked at, for another keeps the drop up to `beyond`.

    Attributes:
        predicted: the least that it is predicted to lose at the next ratio, which is too much: none was measured; None:
            they were.
    """

    arm: Named
    beyond: Ratio
    predicted: Points | None = None


def sentences(
    target: Target, reference: Pick, chosen: Pick | None, ranked: list[Pick], images: int, *, alike: bool = True,
    by_time: ByTime | None = None, cut: Sequence[Cut] = (),
) -> Iterator[str]:  # fmt: skip
    """Why `chosen` (None: nothing meets the target), and why not the others; `ranked`: best first.

    Args:
        images: that verify.
        alike: whether all times were taken under the same conditions; else they are not compared.
        by_time: how times were come by, where the recipe goes by them.
        cut: pipelines that were not followed from their first ratio.
    """
    if by_time:
        yield from of_times(target, chosen, ranked, by_time)
    if chosen is None and by_time and any(p.met for p in ranked):
        return
    if chosen is None:
        near = min(ranked, key=lambda p: p.chosen_drop[0])
        yield (f"Nothing that was tried meets {target.text}{_surely(target)}; the least loss, {_points(near)}, is that "
               f"of {_name(near)} at {near.bytes_ratio:.1f}x.")  # fmt: skip
        return
    yield (f"{_name(chosen)} meets {target.text} on the images it was chosen on{_surely(target)}, losing "
           f"{_points(chosen)}, in a file {chosen.bytes_ratio:.1f}x smaller than dense fp32.")  # fmt: skip
    middle, low, high = (100 * x for x in chosen.verified_drop)
    held = _held(target, chosen, images, by_time)
    yield f"On the other images it loses {middle:.2f} points [{low:.2f}, {high:.2f}]: {held}."
    if by_time is None:
        yield from _costs(reference, chosen, ranked, alike=alike)
    yield from _of_others(chosen, ranked, cut)


def _of_others(chosen: Pick, ranked: Sequence[Pick], cut: Sequence[Cut]) -> Iterator[str]:
    """How far the other pipelines go."""
    beyond = {each.arm: each for each in cut}
    for arm in dict.fromkeys(p.arm for p in ranked if p.arm != chosen.arm):
        met = [p for p in ranked if p.arm == arm and p.met]
        least = min((p for p in ranked if p.arm == arm), key=lambda p: p.chosen_drop[0])
        lost = f"at {least.bytes_ratio:.1f}x it loses {_points(least)}"
        if met:
            told = f", told {met[0].told_ms:.3g} ms a call" if met[0].told_ms is not None else ""
            yield f"{_name(met[0])} is the best of its pipeline that meets it: {met[0].bytes_ratio:.1f}x smaller{told}."
        elif arm in beyond:
            yield f"The pipeline '{arm}' was looked at beyond ratio {beyond[arm].beyond:g} only, to win: {lost}."
        else:
            yield f"The pipeline '{arm}' does not meet it: {lost}."
    for each in cut:
        if each.predicted is not None:
            yield (f"The pipeline '{each.arm}' was not measured: beyond ratio {each.beyond:g}, where it would win, it "
                   f"is predicted to lose {100 * each.predicted:.2f} points at least.")  # fmt: skip


def of_times(target: Target, chosen: Pick | None, ranked: list[Pick], by_time: ByTime) -> Iterator[str]:
    """How fast the choice is, and what was no faster than dense INT8."""
    dense = next((p for p in ranked if p.arm == DENSE.name), None)
    where = f"{by_time.call}, ONNX Runtime"
    if chosen and chosen.run_id in by_time.races:
        own = by_time.races[chosen.run_id]
        yield (f"Timed in turn with dense INT8 ({where}), {_name(chosen)} takes {own.run.median_ms:.3g} ms a call, "
               f"dense INT8 {own.rivals[RIVAL].median_ms:.3g} ms: {_times(own)} as fast.")  # fmt: skip
    elif target.kind == "drop" and dense and dense.told_ms:
        also = "" if chosen else " and does not meet it either"
        yield (f"Nothing that was tried meets {target.text} and is faster than dense INT8, which takes "
               f"{dense.told_ms:.3g} ms a call ({where}){also}.")  # fmt: skip
    for p in ranked:
        if (race := by_time.races.get(p.run_id)) and p is not chosen:
            yield (f"{_name(p)} was told {p.told_ms:.3g} ms a call and, timed in turn, is not faster than dense INT8: "
                   f"{_times(race)} as fast.")  # fmt: skip
    if why := untried(ranked, target):
        yield why
    if by_time.layers_s is not None:
        yield f"The layers were timed for this first, in {by_time.layers_s:.0f} s; further plans by time read that."


def _times(race: Race) -> str:
    ratio = race.ratios[RIVAL]
    return f"{ratio.median:.2f}x [{ratio.low:.2f}, {ratio.high:.2f}]"


def _surely(target: Target) -> str:
    return " with 90 % confidence" if target.kind == "drop" else ""


def _held(target: Target, chosen: Pick, images: int, by_time: ByTime | None) -> str:
    """What the other images say of the target, or the clock of a latency."""
    found = verdict_on(chosen, target)
    if by_time and target.kind == "latency" and chosen.run_id in by_time.races:
        seen = "it meets the target" if found == Verdict.SHOWN else "it misses the target, so ask for a stricter one"
        return f"timed at {by_time.races[chosen.run_id].run.median_ms:.3g} ms, {seen}"
    if found == Verdict.SHOWN:
        return "this shows that it meets the target"
    if found == Verdict.MISSED:
        return "there it misses the target, so ask for a stricter one"
    needed = images_to_settle(chosen.verified_drop, target.limit, images)
    settled = f": about {needed:,} images would settle it" if needed else ""
    return f"consistent with the target, and not shown{settled}"


def _costs(reference: Pick, chosen: Pick, ranked: list[Pick], *, alike: bool) -> Iterator[str]:
    """Size and latency beside the dense model's, in fp32 and in INT8."""
    yield f"Its file has {chosen.bytes:,} bytes, {reference.bytes / chosen.bytes:.2f}x smaller than the fp32 ONNX file."
    if not alike:
        yield "Times were taken with other batches, threads or processors from run to run, and are not compared."
        return
    dense = next((p for p in ranked if p.arm == "dense"), None)
    if chosen.latency_ms and reference.latency_ms and dense and dense.latency_ms and dense is not chosen:
        yield (f"A batch takes {chosen.latency_ms:.2f} ms, dense fp32 {reference.latency_ms:.2f} ms and dense INT8 "
               f"{dense.latency_ms:.2f} ms.")  # fmt: skip


def _name(p: Pick) -> str:
    return f"'{p.arm}'" + (f" at ratio {p.ratio:g}" if p.ratio else "")


def _points(p: Pick) -> str:
    return f"{100 * p.chosen_drop[0]:.2f} points"
