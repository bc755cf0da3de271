"""A module in hand as a model that can be measured."""

import hashlib
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from tdq_core.errors import InputError
from tdq_core.graph.modules import kinds
from tdq_core.graph.oddities import copied
from tdq_core.graph.opened import adopted
from tdq_core.graph.wrappers import unwrapped
from tdq_core.models.answers import ask, require_open, taken_channels
from tdq_core.models.loading import LoadedModel, digest_of, opened_with
from tdq_core.models.preprocess import channels_of, size_of
from tdq_core.models.sources import live_sources
from tdq_core.specs import ModelSpec
from tdq_core.specs.preprocessing import Preprocessing
from tdq_core.system.containment import contained


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
    called = name or type(module).__name__
    both = (size, size) if isinstance(size, int) else size
    spec = ModelSpec(called, mean=mean, std=std, input_size=both)  # type: ignore[arg-type]  # checked there
    require_open(module, called)
    with contained(f"Wrapping the model '{called}'"):
        own, notes = unwrapped(copied(module))
        code = _code_of(own)
        own.float().cpu().eval()
        channels = taken_channels(own, size_of(spec), channels_of(spec), called)
        prepared = Preprocessing(size_of(spec), spec.mean or (0.0,) * channels, spec.std or (1.0,) * channels)
        answers = ask(own, prepared, called)
        own.requires_grad_(False)
        found = adopted(own)
        digest, names = digest_of(code, prepared, own), set(own.state_dict())
        own, told = opened_with(own, prepared)
    source = "as the module that was given in Python"
    return LoadedModel(
        called, own, prepared, answers.classes, source, None, None, digest, (*notes, *answers.notes, *found, *told),
        renamed=names != set(own.state_dict()), repeatable=answers.repeatable, batch_free=answers.batch_free,
    )  # fmt: skip


def _code_of(module: nn.Module) -> str:
    """What stands for a module's code: how it is built, the files that its classes and what these import lie in, and
    the versions of libraries; of a class that lies in no file its source."""
    found = kinds(module)
    files = {kind.__module__: file for kind in found if (file := _file_of(kind))}
    typed = [_source(kind) for kind in found if kind.__module__ not in files]
    parts = [repr(module), live_sources(files).digest(), *typed]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _file_of(kind: type) -> Path | None:
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    return Path(file) if file and Path(file).is_file() else None


def _source(kind: type) -> str:
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):  # typed at a prompt
        return f"{kind.__module__}.{kind.__qualname__}"
