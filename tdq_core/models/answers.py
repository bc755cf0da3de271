"""Asking a model when it is opened: which images it takes, where its logits are, and whether it says the same again."""

import contextlib
import copy
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tdq_core.data.images import batch_size
from tdq_core.errors import InputError
from tdq_core.graph.calls import NOISE, same_rows
from tdq_core.graph.logits import find_logits, giving, is_logits
from tdq_core.models.factories import failure
from tdq_core.specs.preprocessing import Preprocessing
from tdq_core.system.containment import contained

ASKED_AGAIN = 14
"""How often a model that draws random numbers is asked more: what it does to half of the images shows by then."""
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Answers:
    """What a model answered.

    Attributes:
        classes: number of logits.
        repeatable: it answers the same images alike each time.
        batch_free: its answer to an image does not depend on the others of the batch; taken for granted where it is not
            repeatable.
        notes: what a reader must know of it.
    """

    classes: int
    repeatable: bool = True
    batch_free: bool = True
    notes: tuple[str, ...] = ()


class _Silent(Exception):
    """The model raised something when it was asked; the text says what."""


def taken_channels(module: nn.Module, size: tuple[int, int], candidates: tuple[int, ...], name: str) -> int:
    """The first number of channels of which `module` takes images of this size.

    Raises:
        InputError: it takes none of them; says what it raised, and whether it takes whole numbers instead.
    """
    reasons = {}
    with contained(), as_it_was(module):
        for channels in candidates:
            try:
                _ask(module, _noise((channels, *size)))
                return channels
            except _Silent as reason:
                reasons[channels] = str(reason)
        raise InputError(_takes_none(module, size, reasons, name))


def ask(module: nn.Module, prepared: Preprocessing, name: str) -> Answers:
    """Ask for logits of two images, again, and of one alone; a model that returns more is made to return logits alone.

    Its buffers are afterwards as they were.

    Raises:
        InputError: it takes no such images, or gives no logits (N, classes).
    """
    images = _noise(prepared.input_shape)
    with contained(), as_it_was(module):
        try:
            returned = _ask(module, images)
        except _Silent as reason:
            reasons = {prepared.channels: str(reason)}
            raise InputError(_takes_none(module, prepared.input_size, reasons, name)) from reason
        notes = _settle_logits(module, images, returned, name)
        logits, repeatable = _twice(module, images)
        batch_free = not repeatable or _alone_too(module, images, logits)
    if not repeatable:
        notes += ("This model answers differently each time: its numbers cannot be repeated exactly.",)
    if not batch_free:
        size = batch_size(prepared)
        notes += (
            f"This model's answers depend on the other images of a batch: it is measured with batches of {size}.",
        )
    return Answers(logits.shape[1], repeatable, batch_free, notes)


def require_open(module: nn.Module, name: str) -> None:
    """InputError where nothing inside of the module can be seen or replaced, or its parameters hold no values."""
    sealed = "TorchScript" if isinstance(module, torch.jit.ScriptModule) else ""
    if isinstance(module, torch.fx.GraphModule) and "eval" in vars(module):  # it refuses to change its mode
        sealed = "torch.export"
    if sealed:
        raise InputError(
            f"The model '{name}' was made by {sealed}, and nothing in it can be replaced: give the module of which it "
            "was made."
        )
    if any(tensor.is_meta for tensor in (*module.parameters(), *module.buffers())):
        raise InputError(f"The parameters of the model '{name}' hold no values (device 'meta'): give a built model.")


def _settle_logits(module: nn.Module, images: Tensor, returned: Any, name: str) -> tuple[str, ...]:
    """Make the module return its logits alone, where they are clear; the note that says so."""
    if is_logits(returned, len(images)):
        return ()
    places = find_logits(returned, len(images))
    if len(places) == 1:
        giving(module, places[0])
        if is_logits(_ask(copy.deepcopy(module), images), len(images)):
            return (f"The model returns {_shown(returned)}; its part {places[0]!r} is taken for the logits.",)
    wanted = f"The model '{name}' must turn images {tuple(images.shape[1:])} into logits (N, classes)."
    raise InputError(f"{wanted} Got {_shown(returned)}: give a factory whose model returns logits alone.")


def _twice(module: nn.Module, images: Tensor) -> tuple[Tensor, bool]:
    """Logits, and whether they are the same each time."""
    before = _random_state()
    logits = _ask(module, images)
    more = 1 if before == _random_state() else ASKED_AGAIN
    return logits, all(_same(logits, _ask(module, images)) for _ in range(more))


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and not float((one - other).norm()) > NOISE * float(one.norm())


def _alone_too(module: nn.Module, images: Tensor, logits: Tensor) -> bool:
    try:
        alone = _ask(module, images[:1])
    except _Silent:  # statistics of one image, for one
        return False
    return is_logits(alone, 1) and alone.shape[1] == logits.shape[1] and same_rows(logits, alone)


def _ask(module: nn.Module, images: Tensor) -> Any:
    try:
        with torch.no_grad():
            return module(images)
    except Exception as error:
        raise _Silent(failure(error)) from error


def _noise(shape: Shape) -> Tensor:
    """Two images, (2, C, H, W)."""
    return torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))


def _random_state() -> tuple[Any, ...]:
    numpys: Any = np.random.get_state()
    return torch.get_rng_state().numpy().tobytes(), random.getstate(), numpys[1].tobytes(), numpys[2:]


@contextlib.contextmanager
def as_it_was(module: nn.Module) -> Iterator[None]:
    """Undo what asking does to the buffers, where they are there already."""
    kept = [(buffer, buffer.clone()) for buffer in module.buffers() if not nn.parameter.is_lazy(buffer)]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in kept:
                buffer.copy_(value)


def _takes_none(module: nn.Module, size: tuple[int, int], reasons: dict[int, str], name: str) -> str:
    height, width = size
    images = f"two images of {' or '.join(map(str, reasons))} channels and {height}x{width} pixels"
    with contextlib.suppress(_Silent):
        _ask(module, torch.zeros(2, 8, dtype=torch.long))
        return f"The model '{name}' takes whole numbers (tokens): TDQ measures models that take {images}."
    with contextlib.suppress(_Silent):
        _ask(module, _noise((next(iter(reasons)), height, width))[:1])
        return f"The model '{name}' takes one image and not two at once ({next(iter(reasons.values()))})."
    said = "; ".join(f"{reason} ({channels})" if len(reasons) > 1 else reason for channels, reason in reasons.items())
    return (
        f"The model '{name}' does not take {images}: {said}. Its channels are as many as values of mean and std, its "
        "size is the input size."
    )


def _shown(returned: Any) -> str:
    if isinstance(returned, Tensor):
        return str(tuple(returned.shape))
    parts: Any = returned.values() if hasattr(returned, "values") else returned
    if not isinstance(returned, list | tuple) and not hasattr(returned, "values"):
        return type(returned).__name__
    shapes = ", ".join(str(tuple(p.shape)) if isinstance(p, Tensor) else type(p).__name__ for p in parts)
    return f"{type(returned).__name__} of {shapes}"
