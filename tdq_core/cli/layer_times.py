"""`tdq layer-times`: how long the layers of a network take on this machine, in every form."""

from typing import Annotated

import typer

from tdq_core.cli.options import JsonFlag, takes_spec
from tdq_core.cli.terminal import complain, progress_bars, say, say_table
from tdq_core.errors import NotKept
from tdq_core.prediction.layer_times import DENSE, LayerTimes
from tdq_core.specs import ImageSpec, ModelSpec, RunSpec
from tdq_core.specs.option import require_choice
from tdq_core.specs.precision import PRECISIONS


@takes_spec(ModelSpec, ImageSpec, RunSpec, without=("samples", "latency"))
def layer_times(
    subject: RunSpec,
    precision: Annotated[str, typer.Option(help="What ONNX Runtime computes with: fp32 or int8.")] = "int8",
    batch: Annotated[int, typer.Option(help="Images a call.")] = 1,
    threads: Annotated[int, typer.Option(help="Threads of the runtime.")] = 1,
    again: Annotated[bool, typer.Option("--again", help="Time them though it was done before.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Time the layers of a network, dense and decomposed, on this machine; `--budget latency` adds them up."""
    require_choice("precision", precision, PRECISIONS)
    from tdq_core.pipeline.layer_times import measure

    lost = None
    asked = subject.changed(precision=precision, backend="onnxruntime")
    try:
        with progress_bars() as on_progress:
            measured = measure(asked, batch=batch, threads=threads, again=again, on_progress=on_progress)
        found, how = measured.times, "Timed before as" if measured.reused else "Kept as"
    except NotKept as error:
        found, how, lost = error.value, "Not kept:", error
    if as_json:
        say(found.to_json())
    else:
        _print(found, how)
    if lost:
        complain(lost)
        raise typer.Exit(1)


def _print(found: LayerTimes, how: str) -> None:
    rows = []
    for name, forms in found.layers.items():
        own = {form.method: form for form in forms}
        dense = own.pop(DENSE).dense
        fastest = min(own.values(), key=lambda form: form.least, default=None)
        least = f"{fastest.least / 1e6:.3f} by {fastest.method}" if fastest else ""
        rows.append((name, f"{dense / 1e6:.3f}", least))
    say_table(("layer", "dense, ms", "at the smallest ranks, ms"), rows, right=("dense, ms",))
    say(
        "",
        f"The whole dense network takes {found.dense_ns / 1e6:.3g} ms ({found.conditions}).",
        f"{how} {found.times_id}.",
    )
