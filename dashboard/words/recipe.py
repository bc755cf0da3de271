"""A recipe's report as labels, a command and rows of a table: plain values, no streamlit."""

from typing import Any

from dashboard.words import text
from tdq_core.recipes.candidates import DENSE, OWN, REFERENCE, STUDY, Arm
from tdq_core.recipes.choices import Pick, verdict_on
from tdq_core.recipes.report import Report
from tdq_core.recipes.target import parse_target
from tdq_core.specs import PRECISIONS
from tdq_core.specs.command import recipe_command
from tdq_core.specs.variant import Variant

TRIED = {arm.name: arm for arm in (DENSE, STUDY, *OWN)}
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
        return f"a drop of at most {target.number} point{'s' * (target.number != '1')}"
    if target.kind == "ratio":
        return f"a file at least {target.number}x smaller"
    return f"a batch within {target.number} ms"


def recipe_label(report: Report) -> str:
    """A report in one line, for choosing among reports."""
    steps = f", fine-tuned {report.finetune} steps" if report.finetune else ""
    found = text.both_ways(report.chosen.bytes_ratio) if report.chosen else "not met"
    return f"{target_text(report)}{steps}: {found}"


def command(report: Report) -> str:
    """The command that asks for the same again."""
    return recipe_command(report.spec, report.target, report.finetune)


def rows(report: Report) -> list[dict[str, Any]]:
    """Everything that was tried as rows of a table: what was chosen first, the next best, the others by size, and the
    dense fp32 model last."""
    tried = sorted(report.tried, key=lambda p: (p != report.chosen, p not in report.alternatives, p.bytes))
    return [_row(p, report) for p in (*tried, report.reference)]


def _row(pick: Pick, report: Report) -> dict[str, Any]:
    return {
        "role": _role(pick, report),
        "pipeline": arm_label(pick.arm),
        "param ratio": pick.params_ratio,
        "file": pick.bytes,
        "size ratio": pick.bytes_ratio,
        "drop": 100 * pick.chosen_drop[0],
        "drop on the others": f"{text.points(pick.verified_drop[0])} {text.interval(*pick.verified_drop[1:])}",
        "latency": pick.latency_ms,
        "meets it": _verdict(pick, report),
        "run": pick.run_id,
    }


def _role(pick: Pick, report: Report) -> str:
    if report.chosen and pick.run_id == report.chosen.run_id:
        return "chosen"
    if pick.run_id in {p.run_id for p in report.alternatives}:
        return "next best"
    return "reference" if pick.run_id == report.reference.run_id else ""


def _verdict(pick: Pick, report: Report) -> str:
    return f"yes; on the others {verdict_on(pick, parse_target(report.target))}" if pick.met else "no"
