"""A module in hand as a model that can be measured."""

import hashlib
import inspect
from collections.abc import Sequence

from torch import nn

from tdq_core.errors import InputError
from tdq_core.graph.modules import kinds
from tdq_core.graph.oddities import copied
from tdq_core.models.factories import first_conv_channels, probe_classes
from tdq_core.models.loading import LoadedModel, digest_of, example_of
from tdq_core.models.opening import opened
from tdq_core.specs.preprocessing import Preprocessing

LIBRARIES = ("torch.", "torchvision.", "timm.")
"""Their classes are known by name and version; the source of all others enters the digest."""


def wrapped(
    module: nn.Module,
    *,
    size: int | tuple[int, int],
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    name: str | None = None,
) -> LoadedModel:
    """A copy of `module` in eval mode, float32, on the CPU; the original is not touched.

    Args:
        size: (height, width) in pixels that it takes, or one number for both.
        mean, std: one value a channel, taken off and divided by where images come as pixels; None: 0 and 1.
        name: for people; None: that of its class.

    Raises:
        InputError: no module, or one that does not turn images of this size into logits (N, classes).
    """
    if not isinstance(module, nn.Module):
        raise InputError(f"What is wrapped must be a torch.nn.Module. Got {type(module).__name__}.")
    channels = len(mean or std or ()) or first_conv_channels(module)
    height, width = (size, size) if isinstance(size, int) else size
    prepared = Preprocessing(
        (height, width), mean=tuple(mean or (0.0,) * channels), std=tuple(std or (1.0,) * channels)
    )
    own = copied(module).float().cpu().eval().requires_grad_(False)
    called = name or type(module).__name__
    classes = probe_classes(own, prepared.input_shape, called)
    digest, names = digest_of(_code_of(own), prepared, own), set(own.state_dict())
    own, notes = opened(own, example_of(prepared))
    source = "as the module that was given in Python"
    renamed = names != set(own.state_dict())
    return LoadedModel(called, own, prepared, classes, source, None, None, digest, notes, renamed)


def _code_of(module: nn.Module) -> str:
    """What stands for a module's code: how it is built, and the sources of classes that no library holds."""
    own = [kind for kind in kinds(module) if not f"{kind.__module__}.".startswith(LIBRARIES)]
    parts = [repr(module), *map(_source, own)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _source(kind: type) -> str:
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):  # typed at a prompt
        return f"{kind.__module__}.{kind.__qualname__}"
