"""`tdq recipe`: the smallest or fastest model that meets a target, found by measuring."""

from pathlib import Path
from typing import Annotated

import typer

from tdq_core.cli.export import print_told
from tdq_core.cli.options import JsonFlag, takes_spec
from tdq_core.cli.terminal import both_ways, complain, progress_bars, say, say_json, say_table
from tdq_core.errors import NotKept
from tdq_core.recipes.choices import Pick, verdict_on
from tdq_core.recipes.report import Report
from tdq_core.recipes.target import Target, call_of, parse_target
from tdq_core.specs import ImageSpec, ModelSpec, RunSpec
from tdq_core.system.files import user_path

_LEAST = "size, the smallest file (usual); latency, the fastest, layers being timed first where they were not (minutes)"


@takes_spec(ModelSpec, ImageSpec, RunSpec, without=("latency",))
def recipe(
    subject: RunSpec,
    target: Annotated[str, typer.Option(help="'drop<=1%', 'ratio>=4' or 'latency<=5ms'.")],
    finetune: Annotated[int, typer.Option(help="Steps of distillation for TDQ's own pipelines; 0: none.")] = 0,
    least: Annotated[str | None, typer.Option(help=f"Of what keeps a drop: {_LEAST}.")] = None,
    batch: Annotated[
        int | None, typer.Option(help="Images a call, where a latency is told by the layers' times.")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of that call.")] = None,
    export: Annotated[Path | None, typer.Option(help="Write the chosen file here, with a card and the report.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Find ranks that meet a target in INT8: chosen on one half of the images, verified on the other."""
    wanted, lost = parse_target(target), None
    call = call_of(wanted, least=least, batch=batch, threads=threads)
    from tdq_core.recipes.handing_on import hand_on, not_handed_on, require_empty
    from tdq_core.recipes.search import find_recipe

    export = export and user_path(export)
    if export:
        require_empty(export)
    try:
        with progress_bars() as on_progress:
            report = find_recipe(subject, wanted, finetune=finetune, call=call, on_progress=on_progress)
    except NotKept as error:
        report, lost = error.value, error
    if as_json:
        say_json(report.to_dict())
    else:
        _print(report, kept=lost is None)
    if lost:
        complain(lost)
    unmet = not_handed_on(report) if export else None
    if export and not unmet:
        with progress_bars() as on_progress:
            done = hand_on(report, export, on_progress=on_progress)
        if not as_json:
            print_told(export, done.told)
    elif unmet:
        complain(unmet)
    if lost or unmet or (report.chosen is None and not as_json):
        raise typer.Exit(1)


def _print(report: Report, *, kept: bool) -> None:
    subject = f"{report.spec.model.name} on {report.spec.images.data}"
    target = parse_target(report.target)
    halves = f"chosen on {report.n_choose} images, verified on {report.n_verify}"
    least = f" at the least latency ({report.call})" if report.call and target.kind == "drop" else ""
    say(f"{subject}, {report.target}{least}: {halves}")
    say(*(f"  {sentence}" for sentence in report.sentences))
    rows = [
        _row(name, p, target, by_time=report.call is not None)
        for name, p in (
            ("chosen", report.chosen),
            *((f"next {i}", p) for i, p in enumerate(report.alternatives, start=1)),
            ("study's", report.study),
            ("fp32 ONNX", report.reference),
        )
        if p
    ]
    heads = ("", "run", "pipeline", "params ratio", "file", "drop (choosing)", "drop (others)",
             "told" if report.call else "latency", "meets it")  # fmt: skip
    say_table(heads, rows, right=("params ratio", "latency", "told"))
    say("", f"{len(report.tried)} runs were measured or read; `tdq show RUN` shows one.")
    fate = "kept, the dashboard's page Find shows it" if kept else "not kept"
    say(f"Recipe {report.recipe_id}: {fate}.")


def _row(name: str, p: Pick, target: Target, *, by_time: bool) -> tuple[str, ...]:
    first, second = (f"{100 * m:+.2f} [{100 * a:+.2f}, {100 * b:+.2f}]" for m, a, b in (p.chosen_drop, p.verified_drop))
    ratio = f"{p.params_ratio:.2f}x"
    latency = f"{p.latency_ms:.2f} ms" if p.latency_ms is not None else ""
    met = f"yes; on the others {verdict_on(p, target)}" if p.met else "no"
    if by_time:
        latency, met = (f"{p.told_ms:.3g} ms", met) if p.told_ms is not None else ("", "")
    return name, p.run_id[:8], p.arm, ratio, f"{p.bytes:,} B, {both_ways(p.bytes_ratio)}", first, second, latency, met
