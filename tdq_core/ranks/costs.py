"""Params and MACs of a factorised layer, by arithmetic alone, and the ranks that a method may take.

Shapes (`weight` is (C_out, C_in, K_h, K_w), taps = K_h K_w):
    tucker2  ranks (r_out, r_in): 1x1 C_in -> r_in, K_h x K_w r_in -> r_out, 1x1 r_out -> C_out
    cp       ranks (r,):          1x1 C_in -> r, depthwise K_h x K_w on r channels, 1x1 r -> C_out
    svd      ranks (r,):          K_h x K_w C_in -> r, 1x1 r -> C_out  (two plain layers where the kernel is 1x1)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tdq_core.layers.table import Layer

Ranks = tuple[int, ...]


@dataclass(frozen=True)
class Cost:
    params: int
    macs: int


# Plain arithmetic, of ints or of arrays that broadcast.
def _tucker2(la: Layer, ranks: Any) -> tuple[Any, Any, Any]:
    r_out, r_in = ranks
    return la.c_in * r_in, la.taps * r_in * r_out, r_out * la.c_out


def _cp(la: Layer, ranks: Any) -> tuple[Any, Any, Any]:
    (r,) = ranks
    return la.c_in * r, la.taps * r, r * la.c_out


def _svd(la: Layer, ranks: Any) -> tuple[Any, Any, Any]:
    (r,) = ranks
    return 0, la.c_in * la.taps * r, r * la.c_out


# weights of the sub-layers: (at the input's resolution, at the output's, at the output's)
_WEIGHTS: dict[str, Callable[[Layer, Any], tuple[Any, Any, Any]]] = {
    "tucker2": _tucker2,
    "cp": _cp,
    "svd": _svd,
}


def cost(layer: Layer, method: str, ranks: Ranks) -> Cost:
    """Params (bias included) and MACs of `layer` factorised by `method` at `ranks`."""
    return Cost(*_amounts(layer, method, ranks))


def cost_grid(layer: Layer, method: str, axes: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Params and MACs at every combination of the ranks along `axes`, each of shape (ranks of axis 0, ...)."""
    params, macs = _amounts(layer, method, np.ix_(*axes))
    return params, macs


def _amounts(layer: Layer, method: str, ranks: Any) -> tuple[Any, Any]:
    before, middle, after = _WEIGHTS[method](layer, ranks)
    params = before + middle + after + layer.c_out * layer.bias
    return params, before * layer.in_positions + (middle + after) * layer.out_positions


def saves(layer: Layer, price: Cost, budget: str) -> bool:
    """Whether a factorised layer has fewer params than dense, and less of what the budget counts."""
    return price.params < layer.params and (budget == "params" or price.macs < layer.macs)


def dense_cost(layer: Layer) -> Cost:
    return Cost(layer.params, layer.macs)


def max_ranks(layer: Layer, method: str) -> Ranks:
    """The largest ranks that still mean something: above them nothing more can be represented."""
    o, i, k = layer.c_out, layer.c_in, layer.taps
    if method == "tucker2":
        return min(o, i * k), min(i, o * k)
    if method == "cp":
        return (min(o * i, o * k, i * k),)
    return (min(o, i * k),)


def method_for(layer: Layer, method: str) -> str:
    """The method that `layer` takes under `method`: 'auto' is tucker2 for k x k kernels, svd for 1x1 and Linear."""
    if method != "auto":
        return method
    return "tucker2" if layer.taps > 1 else "svd"


def refusal(layer: Layer, method: str) -> str | None:
    """Why `method` cannot or should not be applied to `layer`, or None."""
    if layer.refusal:
        return layer.refusal
    if method in ("tucker2", "cp") and layer.taps == 1:
        what = "Linear layer" if layer.kind == "linear" else "1x1 convolution"
        return f"a {what} is a matrix, which svd factorises with fewer params than {method}: use svd or auto"
    return None


def ladder(layer: Layer, method: str) -> list[tuple[Ranks, Cost]]:
    """Every rank worth considering, smallest first, each dearer than the one before, all with fewer params than dense.

    tucker2 climbs both modes together, r_out / C_out = r_in / C_in up to rounding.
    """
    rungs: list[tuple[Ranks, Cost]] = []
    for ranks in _climb(layer, method):
        price = cost(layer, method, ranks)
        if price.params >= layer.params:
            break
        rungs.append((ranks, price))
    return rungs


def _climb(layer: Layer, method: str) -> list[Ranks]:
    top = max_ranks(layer, method)
    if method != "tucker2":
        return [(r,) for r in range(1, top[0] + 1)]
    steps = max(top)
    return [(-(-n * top[0] // steps), -(-n * top[1] // steps)) for n in range(1, steps + 1)]
