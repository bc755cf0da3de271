"""Options that several commands share."""

import re
from typing import Annotated

import typer

from tdq_core.data.refs import GRAMMAR
from tdq_core.errors import InputError
from tdq_core.specs.rank_rule import BUDGETS, POLICIES

Model = Annotated[
    str, typer.Option(help="A name from `tdq models`, path/to/file.py:factory, package.module:factory or timm:NAME.")
]
Data = Annotated[str, typer.Option(help=f"Images: {GRAMMAR}.")]
Weights = Annotated[str | None, typer.Option(help="A .safetensors, .pt, .pth or .th file with the model's weights.")]
WeightsRandom = Annotated[
    bool, typer.Option("--weights-random", help="Seeded random weights: for cost and speed studies.")
]
Policy = Annotated[str, typer.Option(help=f"How a ratio is shared out over the layers: {', '.join(POLICIES)}.")]
Budget = Annotated[str, typer.Option(help=f"What a ratio counts: {' or '.join(BUDGETS)} of the whole model.")]
Multiple = Annotated[int, typer.Option(help="Ranks of a ratio are multiples of this.")]
Depth = Annotated[float, typer.Option(help="Policy later: a layer's weight is its relative depth ** DEPTH.")]
Calibrated = Annotated[
    bool, typer.Option("--calibrated", help="Fit factors to layers' outputs on the unlabelled calibration images.")
]
Symmetric = Annotated[
    bool,
    typer.Option("--symmetric", help="Calibrated: each layer by itself; loses more, a second ratio is quick."),
]
FineTune = Annotated[int, typer.Option(help="Steps of distillation from the dense model on the calibration images.")]
Mean = Annotated[str | None, typer.Option(help="Mean of each channel in [0, 1], as 0.5,0.5,0.5 (own models).")]
Std = Annotated[str | None, typer.Option(help="Standard deviation of each channel, as 0.25,0.25,0.25 (own models).")]
InputSize = Annotated[str | None, typer.Option(help="What the model sees, in pixels: 224 or 224x160 (own models).")]
Seed = Annotated[int, typer.Option(help="Seed of subsets, random weights and random starts.")]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on stdout.")]


def numbers(name: str, text: str | None) -> tuple[float, ...] | None:
    """'0.5,0.5,0.5' as a tuple of floats."""
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(
            f"The '--{name}' must be numbers with commas between, as 0.5,0.5,0.5. Got '{text}'."
        ) from error


def size(text: str | None) -> tuple[int, int] | None:
    """'224' or '224x160' (height x width) as (height, width)."""
    if text is None:
        return None
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)?", text):
        raise InputError(f"The '--input-size' must be pixels, as 224 or 224x160 (height x width). Got '{text}'.")
    height, _, width = text.partition("x")
    return int(height), int(width or height)
