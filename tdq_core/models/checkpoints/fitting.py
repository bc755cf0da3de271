"""A set of weights into a network: the network's own loading decides what fits."""

import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from tdq_core.errors import InputError
from tdq_core.graph.state import COUNTER
from tdq_core.models.checkpoints.sets import Own, WeightSet

_SHOWN = 3
_RESHAPED = re.compile(
    r"size mismatch for (.+?): copying a param with shape (?:torch\.Size\()?(\[.*?\])\)? from checkpoint, "
    r"the shape in current model is (?:torch\.Size\()?(\[.*?\])"
)


@dataclass(frozen=True)
class Fit:
    """What a network says of a state dict, after it has translated the names that it used to have.

    Attributes:
        reshaped: by name, shape in the file and in the network.
        failed: what else went wrong; '' where nothing did.
    """

    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    reshaped: tuple[str, ...] = ()
    failed: str = ""

    def __bool__(self) -> bool:
        return not (self.missing or self.unexpected or self.reshaped or self.failed)

    def text(self) -> str:
        """The first few faults of each kind."""
        named = (("missing", self.missing), ("unexpected", self.unexpected), ("of another shape", self.reshaped))
        return "; ".join([_count(label, names) for label, names in named if names] + [self.failed] * bool(self.failed))


def _count(label: str, names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{label} {', '.join(names[:_SHOWN])}{more}"


def load_set(module: nn.Module, found: WeightSet, source: str) -> Fit:
    """Copy a set into `module`, in place; where it does not fit, `module` is as it was.

    Raises:
        InputError: tensors that hold no plain real numbers, or two values for one tied tensor.
    """
    own = Own(module.state_dict(keep_vars=True))
    state = _one_value_each(found.state, own, source)
    _require_plain(state, own, source)
    before = {name: value.detach().clone() for name, value in own.state.items() if _is_filled(value)}
    fit = _load(module, state, found.versions)
    if not fit:
        with torch.no_grad():
            for name, value in before.items():
                own.state[name].detach().copy_(value)
    return fit


def _is_filled(value: Any) -> bool:
    return isinstance(value, Tensor) and not is_lazy(value)


def _one_value_each(state: Mapping[str, Any], own: Own, source: str) -> dict[str, Any]:
    """`state` with every name of a tied tensor, of which a file may hold one or all."""
    full = dict(state)
    for names in own.tied():
        given = [name for name in names if name in state]
        for other in given[1:]:
            if not _same(state[given[0]], state[other]):
                raise InputError(
                    f"The weights '{source}' have two values for one tensor: the model uses it as '{given[0]}' and as "
                    f"'{other}', so both must be the same: give weights of this model, or a model without the tie."
                )
        full |= {name: state[given[0]] for name in names if given and name not in state}
    return full


def _same(one: Any, other: Any) -> bool:
    if not (isinstance(one, Tensor) and isinstance(other, Tensor)):
        return bool(one == other)
    return one.shape == other.shape and bool(torch.equal(one, other))


def _require_plain(state: Mapping[str, Any], own: Own, source: str) -> None:
    for name, value in state.items():
        if isinstance(value, Tensor) and (fault := _fault(value, own.state.get(name), name)):
            raise InputError(f"The weights '{source}' cannot be loaded: '{name}' {fault}.")


def _fault(value: Tensor, mine: Any, name: str) -> str | None:
    if value.is_meta:
        return "has a shape and no values (a meta tensor): save the weights after they are loaded"
    if value.is_quantized:
        return "is quantized: give the float weights that it was made of"
    if value.layout != torch.strided or value.is_nested:
        return "is sparse or nested: save it dense, with to_dense()"
    if value.is_complex():
        return "is complex, and TDQ measures real networks"
    if isinstance(mine, Tensor) and mine.is_floating_point() and not value.is_floating_point():
        kind = str(value.dtype).removeprefix("torch.")
        return f"holds {kind} where the model has floats: give the float weights that it was made of"
    if isinstance(mine, Tensor) and not mine.is_floating_point() and value.is_floating_point():
        return None if name.endswith(COUNTER) else "holds floats where the model has integers: it is another model's"
    if value.is_floating_point() and bool(value.float().isnan().any()):
        return "holds NaN: its training went wrong, so give an earlier checkpoint"
    return None


def _load(module: nn.Module, state: Mapping[str, Any], versions: Mapping[str, Any]) -> Fit:
    given = OrderedDict(state)
    given._metadata = OrderedDict(versions)  # type: ignore[attr-defined]
    reshaped: tuple[str, ...] = ()
    names: set[str] = set()
    try:
        with torch.no_grad():
            keys = module.load_state_dict(given, strict=False)
    except RuntimeError as error:
        found = _RESHAPED.findall(str(error))
        reshaped = tuple(f"{name} {was} instead of {wanted}" for name, was, wanted in found)
        names = {name for name, _, _ in found}
        if not names:
            return Fit(failed=_one_line(error))
        return _beside(module, given, names, reshaped)
    except Exception as error:  # a module's own translation may fail on other modules' weights in any way
        return Fit(failed=_one_line(error))
    return _judged(keys, reshaped, names)


def _beside(module: nn.Module, given: "OrderedDict[str, Any]", names: set[str], reshaped: tuple[str, ...]) -> Fit:
    """What is missing and unexpected beside the tensors `names` of another shape."""
    for name in names & given.keys():
        del given[name]
    try:
        keys = module.load_state_dict(given, strict=False)
    except Exception:  # shapes say enough
        return Fit(reshaped=reshaped)
    return _judged(keys, reshaped, names)


def _judged(keys: Any, reshaped: tuple[str, ...], names: set[str]) -> Fit:
    missing = tuple(n for n in keys.missing_keys if not n.endswith(COUNTER) and n not in names)
    return Fit(missing, tuple(keys.unexpected_keys), reshaped)


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()).removesuffix(".")
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__
