"""`tdq recipe`: the smallest model that meets a target, found by measuring."""

from typing import Annotated

import typer

from tdq_core.cli.options import JsonFlag, takes_spec
from tdq_core.cli.terminal import both_ways, complain, progress_bars, say, say_json, say_table
from tdq_core.errors import NotKept
from tdq_core.recipes.choices import Pick, verdict_on
from tdq_core.recipes.report import Report
from tdq_core.recipes.target import Target, parse_target
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

    wanted, lost = parse_target(target), None
    try:
        with progress_bars() as on_progress:
            report = find_recipe(subject, wanted, finetune=finetune, on_progress=on_progress)
    except NotKept as error:
        report, lost = error.value, error
    if as_json:
        say_json(report.to_dict())
    else:
        _print(report, kept=lost is None)
    if lost:
        complain(lost)
    if lost or (report.chosen is None and not as_json):
        raise typer.Exit(1)


def _print(report: Report, *, kept: bool) -> None:
    subject = f"{report.spec.model.name} on {report.spec.images.data}"
    target = parse_target(report.target)
    halves = f"chosen on {report.n_choose} images, verified on {report.n_verify}"
    say(f"{subject}, {report.target}: {halves}")
    say(*(f"  {sentence}" for sentence in report.sentences))
    rows = [
        _row(name, p, target)
        for name, p in (
            ("chosen", report.chosen),
            *((f"next {i}", p) for i, p in enumerate(report.alternatives, start=1)),
            ("study's", report.study),
            ("fp32 ONNX", report.reference),
        )
        if p
    ]
    heads = ("", "run", "pipeline", "params ratio", "file", "drop (choosing)", "drop (others)", "latency", "meets it")
    say_table(heads, rows, right=("params ratio", "latency"))
    say("", f"{len(report.tried)} runs were measured or read; `tdq show RUN` shows one.")
    fate = "kept, the dashboard's page Find shows it" if kept else "not kept"
    say(f"Recipe {report.recipe_id}: {fate}.")


def _row(name: str, p: Pick, target: Target) -> tuple[str, ...]:
    first, second = (f"{100 * m:+.2f} [{100 * a:+.2f}, {100 * b:+.2f}]" for m, a, b in (p.chosen_drop, p.verified_drop))
    ratio = f"{p.params_ratio:.2f}x"
    latency = f"{p.latency_ms:.2f} ms" if p.latency_ms is not None else ""
    met = f"yes; on the others {verdict_on(p, target)}" if p.met else "no"
    return name, p.run_id[:8], p.arm, ratio, f"{p.bytes:,} B, {both_ways(p.bytes_ratio)}", first, second, latency, met
