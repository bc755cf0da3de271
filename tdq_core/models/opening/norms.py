"""Batch norms under other names, some with an activation after it: as torch's plain ones."""

from collections.abc import Iterator
from itertools import product

import torch
from torch import Tensor, nn

from tdq_core.graph.arguments import Arguments
from tdq_core.graph.modules import children, of_kind
from tdq_core.graph.observe import first_tensor
from tdq_core.graph.oddities import oddities, without_hooks
from tdq_core.graph.stand_in import Around
from tdq_core.models.opening.proof import StaysOdd, computes_the_same, fresh
from tdq_core.models.opening.subclasses import with_hooks

PLAIN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_BY_DIMS = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
_BATCH_NORM = nn.modules.batchnorm._BatchNorm
_EPS = (1e-5, 1e-3, 1e-6, 0.0)
"""Tried where a norm does not say its own."""


def odd_norms(model: nn.Module) -> dict[str, nn.Module]:
    """Batch norms that may be no plain ones: subclasses, hooked ones, and whatever else keeps running statistics."""
    return {
        name: norm
        for name, norm in of_kind(model, nn.Module).items()
        if (isinstance(norm, _BATCH_NORM) or _keeps_statistics(norm))
        and _odd(norm)
        and not any(nn.parameter.is_lazy(p) for p in (*norm.parameters(), *norm.buffers()))
    }


def plain_norm(module: nn.Module, calls: list[Arguments]) -> nn.Module:
    """What may take the place of `module`: a batch norm for its number of dimensions, with what `module` holds beside
    (an activation, a dropout) after it.

    Raises:
        StaysOdd: it computes something else, or is called with tensors of several numbers of dimensions.
    """
    seen = [tensor for call in calls if (tensor := first_tensor(call)) is not None]
    if len({tensor.ndim for tensor in seen}) > 1:
        raise StaysOdd("is called with tensors of several numbers of dimensions")
    bare = without_hooks(module)
    trials = [*calls, *_more(module, seen)]
    for norm in _norms(bare, seen[0].ndim if seen else _usual_dims(module)):
        for proposed in (norm, Around("norm", {"norm": norm} | children(bare))):
            if computes_the_same(bare, proposed, trials):
                return with_hooks(module, proposed, "norm", trials)
    raise StaysOdd("computes something else than a plain batch norm")


def _odd(norm: nn.Module) -> bool:
    kinds = [word for word in oddities(norm, PLAIN) if not word.startswith("takes its")]
    return bool(kinds)


def _keeps_statistics(module: nn.Module) -> bool:
    held = dict(module.named_buffers(recurse=False))
    return {"running_mean", "running_var"} <= held.keys() and held["running_mean"].ndim == 1


def _usual_dims(module: nn.Module) -> int:
    return 2 if isinstance(module, nn.BatchNorm1d) else 5 if isinstance(module, nn.BatchNorm3d) else 4


def _channels(module: nn.Module) -> int:
    held = getattr(module, "running_mean", None)
    return len(held) if isinstance(held, Tensor) else int(module.num_features)  # type: ignore[arg-type]


def _more(module: nn.Module, seen: list[Tensor]) -> Iterator[Arguments]:
    dims = seen[0].ndim if seen else _usual_dims(module)
    for images, size in ((2, 4), (3, 5)):
        like = seen[0] if seen else None
        yield (fresh(images, _channels(module), *[size] * (dims - 2), like=like),), {}


def _norms(module: nn.Module, dims: int) -> Iterator[nn.Module]:
    if dims not in _BY_DIMS:
        return
    own = [float(eps)] if isinstance(eps := getattr(module, "eps", None), int | float) else []
    weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
    for eps, affine in product(own or _EPS, (True, False)):
        if affine and (weight is None or bias is None):
            continue
        keeps, momentum = _keeps_statistics(module), getattr(module, "momentum", 0.1)
        norm = _BY_DIMS[dims](_channels(module), eps, momentum, affine, keeps, device="meta")
        if affine:
            norm.weight, norm.bias = _parameter(weight), _parameter(bias)
        if keeps:
            held = dict(module.named_buffers(recurse=False))
            norm.running_mean, norm.running_var = held["running_mean"], held["running_var"]
            norm.num_batches_tracked = held.get("num_batches_tracked", torch.tensor(0))
        yield norm.eval()


def _parameter(held: object) -> nn.Parameter:
    assert isinstance(held, Tensor)
    return held if isinstance(held, nn.Parameter) else nn.Parameter(held.detach().clone(), requires_grad=False)
