"""The command line: thin commands over the engine.

Commands import the engine's torch parts when they run, not when `tdq --help` is read: that takes seconds.
"""

import atexit
import sys

import typer

from tdq_core.cli import (
    additivity,
    bench,
    cache,
    components,
    dashboard,
    doctor,
    export,
    layer_times,
    models,
    predict,
    recipe,
    records,
    run,
    saturation,
    sweep,
    training,
)
from tdq_core.cli.terminal import any_terminal, complain, write_out
from tdq_core.errors import InputError, Refused, TDQError
from tdq_core.system.signals import unwinding

app = typer.Typer(
    help="Measure how tensor decomposition and quantization compress convolutional networks together.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("models")(models.models)
app.command("layers")(models.layers)
app.command("run")(run.run)
app.command("sensitivity")(predict.sensitivity)
app.command("predict")(predict.predict)
app.command("sweep")(sweep.sweep)
app.command("additivity")(additivity.additivity)
app.command("recipe")(recipe.recipe)
app.command("components")(components.components)
app.command("train")(training.train)
app.command("show")(records.show)
app.command("csv")(records.csv)
app.command("bench")(bench.bench)
app.command("layer-times")(layer_times.layer_times)
app.command("export")(export.export)
app.command("verify")(export.verify)
app.command("saturation")(saturation.saturation)
app.command("dashboard")(dashboard.dashboard)
app.command("doctor")(doctor.doctor)
app.command("cache")(cache.cache)


def main() -> None:
    """Run the command line; what TDQ complains about is one sentence on stderr, never a traceback."""
    any_terminal()
    try:
        with unwinding():
            app()
    except TDQError as error:
        complain(error)
        sys.exit(2 if isinstance(error, InputError | Refused) else 1)
    finally:
        write_out()
        if "torch" in sys.modules:  # a model's code may have something to say at the end: registered last, called first
            from tdq_core.system.containment import nothing_more_on_stdout

            atexit.register(nothing_more_on_stdout)
