"""`tdq recipe`: the smallest model that meets a target, found by measuring."""

from typing import Annotated

import typer

from tdq_core.cli.options import JsonFlag, takes_spec
from tdq_core.cli.terminal import both_ways, out, print_json, print_table, progress_bars
from tdq_core.recipes.choices import Pick
from tdq_core.recipes.report import Report
from tdq_core.recipes.target import parse_target
from tdq_core.specs import ImageSpec, ModelSpec, RunSpec


@takes_spec(ModelSpec, ImageSpec, RunSpec, without=("latency",))
def recipe(
    subject: RunSpec,
    target: Annotated[str, typer.Option(help="'drop<=1%', 'ratio>=4' or 'latency<=5ms'.")],
    finetune: Annotated[int, typer.Option(help="Steps of distillation for TDQ's own pipelines; 0: none.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Find ranks that meet a target in INT8: chosen on one half of the images, verified on the other."""
    from tdq_core.recipes.search import find_recipe

    wanted = parse_target(target)
    with progress_bars() as on_progress:
        report = find_recipe(subject, wanted, finetune=finetune, on_progress=on_progress)
    if as_json:
        print_json(report.to_dict())
        return
    _print(report)
    if report.chosen is None:
        raise typer.Exit(1)


def _print(report: Report) -> None:
    subject = f"{report.spec.model.name} on {report.spec.images.data}"
    halves = f"chosen on {report.n_choose} images, verified on {report.n_verify}"
    out.print(f"{subject}, {report.target}: {halves}", markup=False)
    for sentence in report.sentences:
        out.print(f"  {sentence}", markup=False)
    rows = [
        _row(name, p)
        for name, p in (
            ("chosen", report.chosen),
            *((f"next {i}", p) for i, p in enumerate(report.alternatives, start=1)),
            ("study's", report.study),
            ("fp32 ONNX", report.reference),
        )
        if p
    ]
    heads = ("", "run", "pipeline", "params ratio", "file", "drop (choosing)", "drop (verified)", "latency", "meets it")
    print_table(heads, rows, right=("params ratio", "latency"))
    out.print(f"\n{len(report.tried)} runs were measured or read; `tdq show RUN` shows one.", markup=False)
    out.print(f"Recipe {report.recipe_id}: kept, the dashboard's page Recipe shows it.", markup=False)


def _row(name: str, p: Pick) -> tuple[str, ...]:
    first, second = (f"{100 * m:+.2f} [{100 * a:+.2f}, {100 * b:+.2f}]" for m, a, b in (p.chosen_drop, p.verified_drop))
    ratio = f"{p.params_ratio:.2f}x"
    latency = f"{p.latency_ms:.2f} ms" if p.latency_ms is not None else ""
    met = "yes, verified" if p.met and p.verified else "yes, not verified" if p.met else "no"
    return name, p.run_id[:8], p.arm, ratio, f"{p.bytes:,} B, {both_ways(p.bytes_ratio)}", first, second, latency, met
