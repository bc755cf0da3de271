"""`tdq doctor`: what is installed, what this CPU can do, what is missing and how to get it."""

import os
import shutil
from typing import Any

from tdq_core.cli.options import JsonFlag
from tdq_core.cli.terminal import out, print_json
from tdq_core.models.registry import MODELS
from tdq_core.records.store import RunStore, runs_folder
from tdq_core.system import extras, machine

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def doctor(as_json: JsonFlag = False) -> None:
    """Report versions, CPU flags, and what is missing with the way to get it."""
    report = examine()
    if as_json:
        print_json(report)
        return
    for name, version in report["versions"].items():
        out.print(f"{name:<14}{version}", markup=False)
    out.print(
        f"\nCPU           {report['cpu']}, {report['cores']} cores, {' '.join(report['cpu_flags']) or 'no flags known'}"
    )
    out.print(f"INT8 kernels  {report['int8']}")
    out.print(f"runs          {report['runs']}", markup=False)
    out.print("\n" + ("\n".join(report["missing"]) or "Nothing is missing."), markup=False)


def examine() -> dict[str, Any]:
    """The report as plain values."""
    reduced = machine.needs_reduced_range()
    return machine.describe() | {
        "int8": "no VNNI: weights are kept within 7 bits (reduce_range), since the 8-bit kernels saturate"
        if reduced
        else "32-bit accumulation: the full 8-bit range is used",
        "reduce_range": reduced,
        "runs": f"{sum(1 for _ in RunStore().paths())} records, new ones go to '{runs_folder()}'",
        "models_with_weights_here": [e.name for e in MODELS.values() if e.weights and e.weights.shipped],
        "missing": _missing(),
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
    if not os.access(runs_folder() if runs_folder().exists() else ".", os.W_OK):
        lines.append(f"the folder '{runs_folder()}' cannot be written to: set TDQ_RUNS to one that can")
    return lines
