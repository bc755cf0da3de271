"""How a model's images are prepared: what its weights say, then what the run overrides."""

import dataclasses
import math
from typing import Any

from tdq_core.errors import InputError
from tdq_core.specs import ModelSpec
from tdq_core.specs.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing

Noted = tuple[Preprocessing, tuple[str, ...]]


def overridden(own: Preprocessing, spec: ModelSpec) -> Noted:
    """`own` with the run's mean, std and input size; the resize before the crop keeps its proportion."""
    resize = own.resize
    if spec.input_size and resize:
        resize = max(round(resize * min(spec.input_size) / min(own.input_size)), *spec.input_size)
    changed = dataclasses.replace(
        own,
        input_size=spec.input_size or own.input_size,
        mean=spec.mean or own.mean,
        std=spec.std or own.std,
        resize=resize,
    )
    if changed.channels != own.channels:
        raise InputError(
            f"The model '{spec.name}' has {own.channels} input channels: give as many values of mean and std. "
            f"Got {changed.channels}."
        )
    note = "The images are prepared otherwise than the model's weights expect (mean, std or input size given by hand)."
    return changed, () if changed == own else (note,)


def from_config(config: dict[str, Any]) -> Noted:
    """The preprocessing that a model's timm-style configuration describes."""
    channels, height, width = config["input_size"]
    ratio = config.get("crop_pct") or 1.0
    own = Preprocessing(
        (height, width),
        mean=tuple(config.get("mean", IMAGENET_MEAN))[:channels],
        std=tuple(config.get("std", IMAGENET_STD))[:channels],
        resize=math.floor(min(height, width) / ratio),
    )
    filtered = config.get("interpolation", "bilinear")
    note = f"The model's authors resize images with the {filtered} filter; TDQ resizes bilinearly."
    return own, () if filtered == "bilinear" else (note,)


def by_hand(spec: ModelSpec, channels: int) -> Noted:
    """The preprocessing of a model that says nothing of its inputs: the size is needed, mean and std may be assumed."""
    if spec.input_size is None:
        raise InputError(
            f"The model '{spec.name}' does not say what images it takes: give their height and width in pixels as the "
            "input size, for example 224x224."
        )
    if channels not in (1, 3):
        raise InputError(f"The model '{spec.name}' has {channels} input channels; images have 1 or 3.")
    usual = (IMAGENET_MEAN, IMAGENET_STD) if channels == 3 else ((0.5,), (0.5,))
    own = Preprocessing(spec.input_size, *usual)
    changed, _ = overridden(own, spec)
    note = f"No mean and std were given: {own.mean} and {own.std} are assumed."
    return changed, () if spec.mean and spec.std else (note,)
