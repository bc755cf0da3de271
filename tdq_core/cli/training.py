"""`tdq train`: weights of our own."""

import dataclasses
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from tdq_core.cli.options import JsonFlag
from tdq_core.cli.terminal import percent, progress_bars, say, say_json, tell
from tdq_core.errors import InputError
from tdq_core.models.registry import WEIGHTS_FOLDER, entry
from tdq_core.records.store import runs_folder
from tdq_core.system.files import require_folder, user_path
from tdq_core.system.reading import read_json

_OWN = "the model's own recipe where not given"


def train(
    model: Annotated[str, typer.Argument(help="A name from `tdq models`.")] = "digits_resnet",
    data: Annotated[str, typer.Option(help="digits, cifar10[:ROOT] or cifar10-jpeg[:ROOT]: data with splits.")] = "",
    epochs: Annotated[int | None, typer.Option(help=f"Passes over the training images; {_OWN}.")] = None,
    batch: Annotated[int | None, typer.Option(help="Images a step.")] = None,
    peak_lr: Annotated[float | None, typer.Option(help="Highest learning rate of the one cycle.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Strong decay leaves kernels of low rank.")] = None,
    label_smoothing: Annotated[float | None, typer.Option(help="Share of the target spread over all classes.")] = None,
    shift: Annotated[int | None, typer.Option(help="Random shifts of up to this many pixels.")] = None,
    mirror: Annotated[bool | None, typer.Option(help="Mirror half of the images (not for digits).")] = None,
    sizes: Annotated[str | None, typer.Option(help="First epochs on smaller images, as 16:5,24:3 (px:epochs).")] = None,
    depths: Annotated[str | None, typer.Option(help="First epochs on fewer blocks a stage, as 1:4 (n:epochs).")] = None,
    bf16: Annotated[bool | None, typer.Option(help="Products in bfloat16.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of starting weights, order and shifts.")] = None,
    output: Annotated[Path, typer.Option("--out", help="Folder for the weights and their card.")] = WEIGHTS_FOLDER,
    as_json: JsonFlag = False,
) -> None:
    """Train a registered model and write its weights (safetensors) with a card that tells how.

    A killed run goes on where it was, when the same command is given again.
    """
    from tdq_core.training.card import train as fit
    from tdq_core.training.recipe import recipe_of

    data = data or ("digits" if model == "digits_resnet" else "cifar10")
    asked: dict[str, Any] = {"epochs": epochs, "batch": batch, "peak_lr": peak_lr, "weight_decay": weight_decay,
             "label_smoothing": label_smoothing, "shift": shift, "mirror": mirror, "sizes": _steps("sizes", sizes),
             "depths": _steps("depths", depths), "bf16": bf16, "seed": seed}  # fmt: skip
    entry(model)
    output = user_path(output)
    require_folder(output, "The folder of the weights", "name another one with --out")
    before = _sha256_in(output / f"{model}.json")
    recipe = dataclasses.replace(recipe_of(model), **{k: v for k, v in asked.items() if v is not None})
    with progress_bars() as on_progress:
        card = fit(
            model,
            data,
            recipe=recipe,
            folder=output,
            state_folder=runs_folder() / "training",
            command=_command(model, data, asked),
            on_progress=on_progress,
            on_epoch=lambda told, left: _tell(told, recipe.epochs, left),
        )
    if as_json:
        say_json(card)
        return
    say(f"{output / card['file']}  sha256 {card['sha256'][:16]}...  {card['seconds']} s")
    for score in card["scores"].values():
        say(f"  {score['split']}: top-1 {percent(score['top1'])}, n = {score['n']}")
    if before:
        say(f"  {_SAME if card['sha256'] == before else _OTHER}")


def _sha256_in(card: Path) -> str | None:
    """Of the weights that the card there told of, before it is written anew; None where there is none to be read."""
    try:
        return str(read_json(card)["sha256"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


_SAME = "The same bits as the weights that the card there told of before: runs of those are runs of these."
_OTHER = (
    "Other bits than the weights that the card there told of before (recipe, machine or number of threads differ): "
    "runs of those are not runs of these."
)


def _steps(name: str, text: str | None) -> tuple[tuple[int, int], ...] | None:
    """'16:5,24:3' as ((16, 5), (24, 3)); an empty text is everything throughout."""
    if text is None or not text:
        return None if text is None else ()
    if not re.fullmatch(r"\d{1,9}:\d{1,9}(,\d{1,9}:\d{1,9})*", text):
        what, example = {"sizes": ("pixels", "16:5,24:3"), "depths": ("blocks", "1:4,2:2")}[name]
        raise InputError(f"The '--{name}' must be {what}:epochs with commas between, as {example}. Got '{text}'.")
    pairs = (part.split(":") for part in text.split(","))
    return tuple((int(value), int(epochs)) for value, epochs in pairs)


def _command(model: str, data: str, asked: dict[str, Any]) -> str:
    """The command as the card names it: what differs from the model's own recipe, no folders of this machine."""
    parts = [f"tdq train {model} --data {data.partition(':')[0]}"]
    for name, value in asked.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            parts.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, tuple):
            steps = ",".join(f"{at}:{n}" for at, n in value)
            parts.append(f"--{flag} " + (steps or "''"))
        elif value is not None:
            parts.append(f"--{flag} {value}")
    return " ".join(parts)


def _tell(told: dict[str, Any], epochs: int, left: float) -> None:
    size = f"{told['size']} px" if told["size"] else "full size"
    size += f", {told['depth']} a stage" if told["depth"] else ""
    val = "" if told["val_top1"] is None else f", validation {percent(told['val_top1'])}"
    tell(
        f"epoch {told['epoch']}/{epochs}, {size}: loss {told['loss']:.3f}{val}; {told['seconds']:.0f} s so far, "
        f"about {left / 60:.0f} min left at this pace",
    )
