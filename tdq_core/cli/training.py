"""`tdq train`: weights of our own."""

from pathlib import Path
from typing import Annotated

import typer

from tdq_core.cli.options import JsonFlag, Seed
from tdq_core.cli.terminal import out, percent, print_json, progress_bars
from tdq_core.models.registry import WEIGHTS_FOLDER, entry


def train(
    model: Annotated[str, typer.Option(help="A name from `tdq models`.")] = "digits_resnet",
    data: Annotated[str, typer.Option(help="digits or cifar10[:ROOT]: data with a training split.")] = "digits",
    epochs: Annotated[int, typer.Option(help="Passes over the training images.")] = 60,
    batch: Annotated[int, typer.Option(help="Images a step.")] = 64,
    peak_lr: Annotated[float, typer.Option(help="Highest learning rate of the one cycle.")] = 0.05,
    weight_decay: Annotated[float, typer.Option(help="Weight decay; strong decay leaves low-rank kernels.")] = 0.02,
    shift: Annotated[int, typer.Option(help="Random shifts of up to this many pixels.")] = 1,
    mirror: Annotated[bool, typer.Option("--mirror", help="Mirror half of the images (not for digits).")] = False,
    seed: Seed = 0,
    output: Annotated[Path, typer.Option("--out", help="Folder for the weights and their card.")] = WEIGHTS_FOLDER,
    as_json: JsonFlag = False,
) -> None:
    """Train a registered model and write its weights (safetensors) with a card that tells how."""
    from tdq_core.train import Recipe
    from tdq_core.train import train as fit

    entry(model)
    recipe = Recipe(epochs, batch, peak_lr, weight_decay, shift=shift, mirror=mirror, seed=seed)
    with progress_bars() as on_progress:
        card = fit(model, data, recipe=recipe, folder=output, on_progress=on_progress)
    if as_json:
        print_json(card)
        return
    out.print(f"{output / card['file']}  sha256 {card['sha256'][:16]}…  {card['seconds']} s", markup=False)
    for score in card["scores"].values():
        out.print(f"  {score['split']}: top-1 {percent(score['top1'])}, n = {score['n']}", markup=False)
