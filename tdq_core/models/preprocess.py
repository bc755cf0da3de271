"""How a model's images are prepared: what its weights say, then what the run overrides."""

import dataclasses
import math
from typing import Any

from tdq_core.errors import InputError
from tdq_core.specs import ModelSpec
from tdq_core.specs.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing

Noted = tuple[Preprocessing, tuple[str, ...]]


def overridden(own: Preprocessing, spec: ModelSpec, *, channels: bool = False) -> Noted:
    """`own` with the run's mean, std and input size; the resize before the crop keeps its proportion.

    Args:
        channels: their number may be another one than that of `own`.
    """
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
    if changed.channels != own.channels and not channels:
        raise InputError(
            f"The model '{spec.name}' has {own.channels} input channels: give as many values of mean and std. "
            f"Got {changed.channels}."
        )
    note = "The images are prepared otherwise than the model's weights expect (mean, std or input size given by hand)."
    return changed, () if changed == own else (note,)


def from_config(config: dict[str, Any]) -> Noted:
    """The preprocessing that a model's timm-style configuration describes."""
    try:
        channels, height, width = map(int, config["input_size"])
    except (TypeError, ValueError) as error:
        raise InputError(
            f"The 'input_size' of a model's configuration must be (channels, height, width). "
            f"Got {config['input_size']!r}."
        ) from error
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
    """The preprocessing of a model that says nothing of its inputs: the size is given, mean and std may be assumed."""
    usual = (IMAGENET_MEAN, IMAGENET_STD) if channels == 3 else ((0.5,), (0.5,))
    own = Preprocessing(size_of(spec), *usual)
    changed, _ = overridden(own, spec, channels=True)
    note = f"No mean and std were given: {own.mean} and {own.std} are assumed."
    return changed, () if spec.mean and spec.std else (note,)


def size_of(spec: ModelSpec) -> tuple[int, int]:
    """The size that the run says; InputError where it says none."""
    if spec.input_size is None:
        raise InputError(
            f"The model '{spec.name}' does not say what images it takes: give their height and width in pixels as the "
            "input size, for example 224x224."
        )
    return spec.input_size


def channels_of(spec: ModelSpec) -> tuple[int, ...]:
    """The numbers of channels that images may have: as many as values of mean and std are given, or 3, or 1."""
    given = spec.mean or spec.std
    return (len(given),) if given else (3, 1)
