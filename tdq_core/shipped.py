"""The runs that come with the project, and the command that measures them anew: `python -m tdq_core.shipped`.

Every method, ratio, precision and backend on the embedded default, so that a newcomer sees real trade-off curves
and every additivity cell at once; CP to integers without conditioning as well, for contrast; Tucker-2 and
CP fitted to outputs; the latency of the dense model and of one CP; and a recipe with its runs. What is recorded
already is kept; delete a file to measure it again.
"""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tdq_core.cli.terminal import err, progress_bars
from tdq_core.components import study_spec
from tdq_core.files import write_atomically
from tdq_core.records import RunRecord
from tdq_core.specs import BACKENDS, DEFAULT_ETA, PRECISIONS, RankRule, RunSpec
from tdq_core.store import RunStore, shipped_folder
from tdq_core.table import method_text

MODEL, DATA = "digits_resnet", "digits"
METHODS = ("tucker2", "cp", "svd", "auto")
RATIOS = (1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
EPC_RATIOS = RATIOS[1:4]
STUDIED_RATIO = 2.0
TARGET = "drop<=1%"
SHOWN = ("tucker2", "tucker2 + calibrated", "cp", "cp + epc", "cp + epc + calibrated")
TIMED_BACKEND = "onnxruntime"
"""Its kernels are the real ones at every precision."""
RULES = (RankRule("energy", 0.9), RankRule("energy", 0.99), RankRule("vbmf", 1.0))


def shipped_specs() -> Iterator[RunSpec]:
    """Every shipped run, dense models first."""
    plain = RunSpec(MODEL, DATA)
    studied = replace(plain, method="cp", rule=RankRule("ratio", STUDIED_RATIO), epc=True)
    treatments = [plain]
    treatments += [replace(plain, method=m, rule=RankRule("ratio", r)) for m, r in itertools.product(METHODS, RATIOS)]
    treatments += [replace(plain, method="cp", rule=RankRule("ratio", r), epc=True) for r in EPC_RATIOS]
    treatments += [replace(plain, method="tucker2", rule=rule) for rule in RULES]
    for ratio in EPC_RATIOS:
        treatments.append(replace(plain, method="cp", rule=RankRule("ratio", ratio), epc=True, calibrated=True))
        shared = RankRule("ratio", ratio, policy="global")
        treatments.append(replace(plain, method="tucker2", rule=shared, calibrated=True))
    for treatment, precision, backend in itertools.product(treatments, PRECISIONS, BACKENDS):
        timed = treatment in (plain, studied) and backend == TIMED_BACKEND
        yield replace(treatment, precision=precision, backend=backend, latency=timed)
    for ratio, backend in itertools.product(EPC_RATIOS, BACKENDS):
        cp = replace(plain, method="cp", rule=RankRule("ratio", ratio))
        yield replace(cp, precision="int8", backend=backend, condition=False)


def grid_of(records: list[RunRecord]) -> list[RunRecord]:
    """Those that `shipped_specs` asks for: without what a recipe tried."""
    specs = list(shipped_specs())
    return [record for record in records if record.spec in specs]


def readme_table(records: list[RunRecord]) -> str:
    """The README's table: top-1 by method and ratio in fp32, and by INT8 with the size of its file."""
    records = grid_of(records)
    found = {(method_text(r.spec), r.spec.rule.value if r.spec.rule else None, r.spec.precision, r.spec.backend,
              r.spec.condition): r for r in records if r.spec.rule is None or r.spec.rule.kind == "ratio"}  # fmt: skip
    lines = ["| | ratio | fp32 | INT8 | INT8, not conditioned | INT8 file | smaller than fp32 |", f"|{'---|' * 7}"]
    for method, ratio in [("none", None), *itertools.product(SHOWN, EPC_RATIOS)]:
        dense, small = (found[method, ratio, *kind, True] for kind in (("fp32", "torch"), ("int8", "onnxruntime")))
        assert dense.metrics and small.metrics, "shipped runs are complete"
        bare = found.get((method, ratio, "int8", "onnxruntime", False))
        lines.append(
            f"| {method} | {ratio or 1:g} | {_percent(dense)} | {_percent(small)} | {_percent(bare) if bare else ''} "
            f"| {small.metrics.bytes / 1000:.0f} kB | {small.bytes_ratio():.1f}x |"
        )
    return "\n".join(lines)


def _percent(record: RunRecord) -> str:
    assert record.metrics, "shipped runs are complete"
    return f"{100 * record.metrics.top1:.1f} %"


def rebuild(folder: Path) -> int:
    """Measure what is missing in `folder`; returns the number of records there."""
    from tdq_core.component_study import study
    from tdq_core.layer_files import table_path
    from tdq_core.pipeline import read_table, run
    from tdq_core.recipe.search import find_recipe
    from tdq_core.recipe.target import parse_target

    store = RunStore(folder)
    specs = list(shipped_specs())
    write_atomically(folder / table_path(specs[0]), read_table(specs[0]).to_json())
    with progress_bars() as on_progress:
        spec = study_spec(specs[0], rule=RankRule("ratio", STUDIED_RATIO), eta=DEFAULT_ETA)
        study(spec, folders=[folder / "components"], on_progress=on_progress)
        for done, spec in enumerate(specs):
            on_progress("shipped runs", done, len(specs))
            record = run(spec, store=store).record
            if record.state != "complete":
                err.print(f"{spec.method} {spec.rule} {spec.precision} {spec.backend}: {record.reason}", markup=False)
        find_recipe(specs[0], parse_target(TARGET), store=store, folder=folder / "recipes", on_progress=on_progress)
    return len(store.all())


if __name__ == "__main__":
    count = rebuild(shipped_folder())
    err.print(f"{count} runs are in '{shipped_folder().name}'.")
