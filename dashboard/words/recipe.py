"""A recipe's report as labels, a command and rows of a table: plain values, no streamlit."""

from collections.abc import Callable
from typing import Any

from dashboard.words import text
from dashboard.words.markup import plain
from tdq_core.pipeline.speed.record import Race
from tdq_core.recipes.by_time import RIVAL, is_faster, untried
from tdq_core.recipes.candidates import DENSE, MIXED, OWN, REFERENCE, STUDY, Arm
from tdq_core.recipes.choices import Pick, verdict_on
from tdq_core.recipes.report import Report
from tdq_core.recipes.sentences import Cut
from tdq_core.recipes.target import Target, parse_target
from tdq_core.records.record import RunRecord
from tdq_core.specs import PRECISIONS
from tdq_core.specs.command import recipe_command
from tdq_core.specs.variant import Variant
from tdq_core.stats.verdict import Verdict, images_to_settle

TRIED = {arm.name: arm for arm in (DENSE, STUDY, *OWN, MIXED)}
"""Pipelines that answer a target, by name, in the order in which they are shown."""


def arm_variant(arm: Arm) -> Variant:
    """What a pipeline's colour and label stand for."""
    return Variant(arm.method, arm.epc, arm.calibrated)


def arm_label(name: str) -> str:
    """A pipeline as the screen names it; one that an old report knows alone keeps its name."""
    if name == STUDY.name:
        return f"the study's: {arm_variant(STUDY).label} of later layers"
    arm = REFERENCE if name == REFERENCE.name else TRIED.get(name)
    if arm is None:
        return name
    label = arm_variant(arm).label
    return f"{label}, {PRECISIONS[arm.precision].label}" if arm.method == "none" else label


def target_text(report: Report) -> str:
    """'a drop of at most 1 point', 'a file at least 4x smaller' or 'a batch within 5 ms'."""
    target = parse_target(report.target)
    if target.kind == "drop":
        least = " at the least time" if report.call else ""
        return f"a drop of at most {target.number} point{'s' * (target.number != '1')}{least}"
    if target.kind == "ratio":
        return f"a file at least {target.number}x smaller"
    return f"a batch within {target.number} ms"


def recipe_label(report: Report) -> str:
    """A report in one line, for choosing among reports."""
    steps = f", fine-tuned {report.finetune} steps" if report.finetune else ""
    found = text.both_ways(report.chosen.bytes_ratio) if report.chosen else "not met"
    if report.chosen and (race := report.races.get(report.chosen.run_id)):
        found = f"{race.ratios[RIVAL].median:.2f}x as fast as dense INT8"
    elif report.chosen and report.call:
        found = arm_label(report.chosen.arm)
    return f"{target_text(report)}{steps}: {found}"


def command(report: Report) -> str:
    """The command that asks for the same again."""
    more = report.call.words(parse_target(report.target)) if report.call else ()
    return recipe_command(report.spec, report.target, report.finetune, more)


def sentences(report: Report) -> list[str]:
    """What was found, one sentence a fact; a report that does not meet its target says what comes nearest."""
    target = parse_target(report.target)
    if report.chosen is None and report.call and any(p.met for p in report.tried):
        return [f"Nothing that was tried gives {target_text(report)} and is faster than dense INT8.", *_raced(report)]
    if report.chosen is None:
        near = min(report.tried, key=lambda p: p.chosen_drop[0])
        return [
            f"Nothing that was tried gives {target_text(report)}{_sure(target)}. The least loss, "
            f"{text.points(near.chosen_drop[0])} points, is that of {_named(near)} at {near.bytes_ratio:.2f}x smaller."
        ]
    chosen, middle = report.chosen, report.chosen.verified_drop
    told = [
        f"**{_named(chosen)}** gives {target_text(report)}{_sure(target)}: {text.file_size(chosen.bytes)}, "
        f"{text.both_ways(chosen.bytes_ratio)}; it loses {text.points(chosen.chosen_drop[0])} points where it was "
        "chosen.",
        f"On the {report.n_verify:,} other images it loses {text.points(middle[0])} points "
        f"{text.interval(*middle[1:])}: {_held(report)}.",
    ]
    told += _raced(report)
    for arm in dict.fromkeys(p.arm for p in report.tried if p.arm != chosen.arm):
        own = [p for p in report.tried if p.arm == arm]
        met = min((p for p in own if p.met), key=lambda p: p.told_ms or p.bytes, default=None)
        least = min(own, key=lambda p: p.chosen_drop[0])
        told.append(
            f"{_named(met)} meets it too, {met.bytes_ratio:.2f}x smaller."
            if met
            else f"{_named(least)} does not: it loses {text.points(least.chosen_drop[0])} points at "
            f"{least.bytes_ratio:.2f}x smaller."
        )
    return [*told, *map(_cut, report.cut)]


def _cut(cut: Cut) -> str:
    """What was not looked at of a pipeline, and why."""
    beyond = f"beyond ratio {cut.beyond:g}, where it would win"
    if cut.predicted is None:
        return f"{arm_label(cut.arm)} was looked at only {beyond}."
    least = text.points(cut.predicted)
    return f"{arm_label(cut.arm)} was not measured: {beyond}, it is predicted to lose at least {least} points."


def _raced(report: Report) -> list[str]:
    """How fast what was chosen is, and what was no faster than dense INT8."""
    if report.call is None:
        return []
    told = []
    for pick in report.tried:
        if (race := report.races.get(pick.run_id)) is None:
            continue
        ratio = race.ratios[RIVAL]
        times = f"{ratio.median:.2f}x [{ratio.low:.2f}, {ratio.high:.2f}]"
        slow = "" if is_faster(race) else ", not faster beyond the spread"
        told.append(
            f"{_named(pick)} takes {race.run.median_ms:.3g} ms a call ({report.call}, ONNX Runtime), dense INT8 "
            f"{race.rivals[RIVAL].median_ms:.3g} ms, timed in turn: {times} as fast{slow}{_cold(race)}."
        )
    if not told:
        told = ["Nothing that was tried and meets it is told to be faster than dense INT8."]
    if why := untried(report.tried, parse_target(report.target)):
        told.append(why)
    if report.layers_s is not None:
        told.append(f"The layers were timed for this first, in {report.layers_s:.0f} s.")
    return told


def _cold(race: Race) -> str:
    return "" if race.settled else ", each right after a call of another network, as TDQ before 0.20 timed"


def _sure(target: Target) -> str:
    """Of a drop, that luck alone is seldom chosen."""
    return ", with 90 % confidence" if target.kind == "drop" else ""


def _held(report: Report) -> str:
    """What the images that no choice looked at say of the target."""
    assert report.chosen, "asked of what was chosen"
    target, found = parse_target(report.target), verdict_on(report.chosen, parse_target(report.target))
    if target.kind == "latency" and (race := report.races.get(report.chosen.run_id)):
        seen = "**met**" if found == Verdict.SHOWN else "**missed**, so ask for a stricter target"
        return f"timed at {race.run.median_ms:.3g} ms, {seen}"
    if found == Verdict.SHOWN:
        return "**shown**"
    if found == Verdict.MISSED:
        return "**missed** there, so ask for a stricter target"
    needed = images_to_settle(report.chosen.verified_drop, target.limit, report.n_verify)
    settled = f"; about {needed:,} images would settle it" if needed else ""
    return f"**consistent** with the target, and not shown{settled}"


def _named(pick: Pick) -> str:
    """In Markdown; an arm of an old report may be called anything."""
    return plain(arm_label(pick.arm)) + (f" at ratio {pick.ratio:g}" if pick.ratio else "")


def rows(report: Report, record_of: Callable[[str], RunRecord | None] = lambda run_id: None) -> list[dict[str, Any]]:
    """Everything that was tried as rows of a table: what was chosen first, the next best, the others by size, and the
    dense fp32 model last; `record_of`: a run by its id, for the conditions of its time."""
    tried = sorted(report.tried, key=lambda p: (p != report.chosen, p not in report.alternatives, p.bytes))
    return [_row(p, report, record_of(p.run_id)) for p in (*tried, report.reference)]


def _row(pick: Pick, report: Report, record: RunRecord | None) -> dict[str, Any]:
    return {
        "role": _role(pick, report),
        "pipeline": arm_label(pick.arm),
        "drop": 100 * pick.chosen_drop[0],
        "drop on the others": f"{text.points(pick.verified_drop[0])} {text.interval(*pick.verified_drop[1:])}",
        "meets it": _verdict(pick, report),
        "file": pick.bytes,
        "size ratio": pick.bytes_ratio,
        "param ratio": pick.params_ratio,
        **({"told": pick.told_ms} if report.call else {}),
        "time": text.latency(record) if record else "",
        "run": pick.run_id,
    }


def _role(pick: Pick, report: Report) -> str:
    if report.chosen and pick.run_id == report.chosen.run_id:
        return "chosen"
    if pick.run_id in {p.run_id for p in report.alternatives}:
        return "next best"
    return "reference" if pick.run_id == report.reference.run_id else ""


def _verdict(pick: Pick, report: Report) -> str:
    if report.call and pick.told_ms is None:
        return ""
    return f"yes; on the others {verdict_on(pick, parse_target(report.target))}" if pick.met else "no"
