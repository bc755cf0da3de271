"""`tdq sensitivity` and `tdq predict`: what a plan will cost, before it is built."""

from typing import Annotated

import msgspec
import typer

from tdq_core.cli.options import JsonFlag, takes_spec
from tdq_core.cli.terminal import complain, progress_bars, say, say_json, say_table
from tdq_core.errors import InputError, NotKept
from tdq_core.prediction import track
from tdq_core.prediction.sensitivity import Sensitivities
from tdq_core.recipes.target import parse_target
from tdq_core.records.store import RunStore
from tdq_core.specs import Decomposition, ImageSpec, ModelSpec, PrecisionSpec, RunSpec, Treatment
from tdq_core.specs.choices import BUDGETS
from tdq_core.specs.command import command_line


@takes_spec(ModelSpec, ImageSpec, RunSpec, without=("samples", "latency"))
def sensitivity(
    subject: RunSpec,
    images: Annotated[int, typer.Option(help="Calibration images that pass the network for every change.")] = 64,
    as_json: JsonFlag = False,
) -> None:
    """Measure how much the answers move when one layer alone is decomposed or rounded; `tdq predict` adds it up."""
    from tdq_core.analysis.layer_changes import measure

    lost = None
    try:
        with progress_bars() as on_progress:
            measured = measure(subject, images=images, on_progress=on_progress)
        found, how = measured.sensitivities, "Measured before as" if measured.reused else "Kept as"
    except NotKept as error:
        found, how, lost = error.value, "Not kept:", error
    if as_json:
        say(found.to_json())
    else:
        _print(found, how)
    if lost:
        complain(lost)
        raise typer.Exit(1)


def _print(found: Sensitivities, how: str) -> None:
    rows = []
    for name, layer in found.layers.items():
        fits = {form: fit["outputs"][-1] for form, fit in layer.fits.items() if "outputs" in fit}
        cells = (f"{point.change:.2g} at {' x '.join(map(str, point.ranks))}" for point in fits.values())
        rows.append((name, f"{layer.rounding['dense'].get('w4', 0.0):.2g}", "; ".join(
            f"{form} {cell}" for form, cell in zip(fits, cells, strict=True))))  # fmt: skip
    say_table(("layer", "4-bit weights", "at the smallest ranks"), rows, right=("4-bit weights",))
    say(
        "",
        "Mean squared change of the logits over their mean square, each layer alone, "
        f"on {found.images} unlabelled images.",
        f"{how} {found.sensitivity_id}.",
    )


def _score(asked: bool) -> None:
    """Print the track record and end: no model is needed for it."""
    if not asked:
        return
    runs = track.kept(RunStore().found().values)
    if not runs:
        say("No run that was measured had been predicted: `tdq sensitivity` measures what predictions are made from.")
        raise typer.Exit
    groups = {("all", "", ""): runs} | dict(sorted(track.by_group(runs).items()))
    heads = ("network", "method", "precision", "runs", "mean error, points", "within 90 %", "Kendall's tau")
    say_table(heads, [(*name, *_cells(track.score(own))) for name, own in groups.items()], right=heads[3:])
    raise typer.Exit


def _cells(found: track.Score) -> tuple[str, ...]:
    tau = "" if found.tau is None else f"{found.tau:.2f}"
    return str(found.runs), f"{100 * found.error:.2f}", f"{found.covered:.0%}", tau


@takes_spec(ModelSpec, ImageSpec, Decomposition, Treatment, PrecisionSpec, RunSpec, aim="target")
def predict(
    spec: RunSpec,
    target: Annotated[
        str | None,
        typer.Option(help="Instead of ranks: a drop, as 'drop<=1%'; finds the ranks that save most within it."),
    ] = None,
    score: Annotated[
        bool,
        typer.Option("--score", is_eager=True, callback=_score, help="Predicted against measured, of all runs; alone."),
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Predict the drop of a run from the sensitivities of its network: nothing is built, no image passes."""
    from tdq_core.api.predictions import aimed
    from tdq_core.api.predictions import predict as ask

    with progress_bars() as on_progress:
        if target:
            spec = aimed(spec, _drop_of(spec, target), on_progress=on_progress)
        found = ask(spec, on_progress=on_progress)
    if as_json:
        say_json(msgspec.to_builtins(found) | ({"ratio": spec.rule.value} if target and spec.rule else {}))
        return
    if target and spec.rule:
        say(f"Ratio {spec.rule.value:.4g} of {BUDGETS[spec.rule.budget].label}, by {command_line(spec)}")
    say(track.in_words(found))


def _drop_of(spec: RunSpec, text: str) -> float:
    """What a target allows to be lost; InputError where it is about something else, or there is nothing to aim with."""
    target = parse_target(text)
    if target.kind != "drop":
        raise InputError(f"A prediction is of a drop: the '--target' must be as 'drop<=1%'. Got '{text}'.")
    if spec.decomposition is None:
        raise InputError("A '--target' finds ranks: give a '--method' that has some. Got none.")
    return target.limit
