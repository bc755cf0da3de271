"""`tdq doctor`: what is installed, what this CPU can do, what is missing and how to get it."""

import shutil
from typing import Any

from tdq_core.cli.options import JsonFlag
from tdq_core.cli.terminal import say, say_json
from tdq_core.errors import InputError
from tdq_core.models.registry import MODELS, damaged_cards
from tdq_core.records.store import RunStore, runs_folder
from tdq_core.system import extras, machine

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def doctor(as_json: JsonFlag = False) -> None:
    """Report versions, CPU flags, and what is missing with the way to get it."""
    report = examine()
    if as_json:
        say_json(report)
        return
    say(*(f"{name:<14}{version}" for name, version in report["versions"].items()))
    flags = " ".join(report["cpu_flags"]) or "no flags known"
    say("", f"CPU           {report['cpu']}, {report['cores']} cores, {flags}")
    say(f"INT8 kernels  {report['int8']}", f"runs          {report['runs']}")
    say("", *(report["missing"] or ["Nothing is missing."]))


def examine() -> dict[str, Any]:
    """The report as plain values."""
    reduced, runs = machine.needs_reduced_range(), RunStore().found()
    return machine.describe() | {
        "int8": "no VNNI: weights are kept within 7 bits (reduce_range), since the 8-bit kernels saturate"
        if reduced
        else "32-bit accumulation: the full 8-bit range is used",
        "reduce_range": reduced,
        "runs": f"{len(runs.values)} records, new ones go to '{runs_folder()}'",
        "models_with_weights_here": [e.name for e in MODELS.values() if (w := e.usable_weights) and w.shipped],
        "missing": [*_missing(), *damaged_cards(), *runs.left_out],
    }


def _missing() -> list[str]:
    lines = [
        f"missing: {lack}. Get it with: pip install '{lack.need.name}{lack.need.specifier}'"
        for lack in extras.lacking()
    ]
    if not extras.installed("tdq"):
        lines.append("missing: TDQ is not installed, so that its needs are not known. Get it with: pip install .")
    for extra, purpose in extras.EXTRAS.items():
        if lacks := extras.lacking(extra):
            lines.append(
                f"optional: {purpose}: {', '.join(map(str, lacks))}. Get it with: {extras.install_command(extra)}"
            )
    if not any(map(shutil.which, BROWSERS)):
        lines.append("optional: chromium, for the browser tests. Get it with: apt-get install chromium")
    try:
        RunStore().require_writable()
    except InputError as error:
        lines.append(f"missing: {error}")
    return lines
