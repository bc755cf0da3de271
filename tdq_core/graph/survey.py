"""The survey of a network: of every layer how it is reached, how it is called, and why it may have to be left alone."""

import copy
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import torch
from torch import Tensor, nn

from tdq_core.graph.ends import Ends, ends_of
from tdq_core.graph.modules import Layer, layers
from tdq_core.graph.oddities import borrowed, hooks, patched
from tdq_core.graph.replace import references
from tdq_core.graph.trace import Reading, Trace, owners, trace

HARMLESS = ("dtype", "device", "requires_grad", "is_floating_point", "shape", "ndim", "dim", "numel", "size")
"""Facts about a weight that what stands in a layer's place offers too, see `stand_in`."""
T = TypeVar("T")
MATRIX_FUNCTIONS = ("linear", "conv1d", "conv2d", "conv3d", "matmul", "mm", "addmm", "bmm", "einsum", "bilinear")


@dataclass(frozen=True)
class Way:
    """How a layer is reached and called.

    Attributes:
        names: all that it has in the network, the first one first.
        calls: in one pass.
        positions: places of one image at which it is applied, before its stride, after it, and after its stride down
            but not across, over all calls; a part that does not depend on the images (a table of constants) counts
            once.
        refusal: why nothing can take its place, or None.
    """

    names: tuple[str, ...]
    calls: int
    positions: tuple[int, int, int]
    refusal: str | None


@dataclass(frozen=True)
class Survey:
    """What passes of a few images show; made by `survey`.

    Attributes:
        images: in the pass `pass_`; `larger` is that of one more, None where the network takes so many only.
        stuck: ids of the parameters that a copy of the network still reads from the original.
    """

    model: nn.Module
    images: int
    pass_: Trace
    larger: Trace | None
    stuck: frozenset[int]

    @cached_property
    def layers(self) -> dict[str, Layer]:
        """The convolutions and linear layers by their first names, in the network's own order."""
        return layers(self.model)

    @cached_property
    def order(self) -> tuple[str, ...]:
        """Names of the layers as they are called, once for each call."""
        return tuple(site.name for site in self.pass_.sites)

    @cached_property
    def ends(self) -> Ends:
        return ends_of(self.order, self.layers)

    @cached_property
    def ways(self) -> dict[str, Way]:
        """Of the layers that run, or whose weights are used without them, in the order in which they first do."""
        names = dict.fromkeys((*self.order, *self._used_without_call))
        return {name: self._way(name) for name in names}

    @cached_property
    def unreached(self) -> dict[str, str]:
        """Name -> class of the largest modules with params none of which any image reaches."""
        return unreached(self.model, self.pass_)

    @cached_property
    def unread(self) -> tuple[str, ...]:
        """Parameters that no operation read, of modules that run."""
        gone = tuple(f"{name}." for name in self.unreached)
        own = (name for name, _ in self.model.named_parameters())
        return tuple(n for n in own if n not in self.pass_.read and not n.startswith(gone))

    @cached_property
    def _used_without_call(self) -> dict[str, list[Reading]]:
        """Layers that are not called while functions compute with their weights."""
        called, found = set(self.order), defaultdict[str, list[Reading]](list)
        for reading in self.pass_.readings:
            owner = reading.parameter.rpartition(".")[0]
            if owner in self.layers and owner not in called and not reading.fact:
                found[owner].append(reading)
        return dict(found)

    def _way(self, name: str) -> Way:
        small = self._places(name, self.pass_)
        large = self._places(name, self.larger) if self.larger else (None, None, None)
        positions = tuple(of_one_image(a, b, self.images) for a, b in zip(small, large, strict=True))
        return Way(
            names=references(self.model, self.layers[name]),
            calls=self.order.count(name),
            positions=(positions[0], positions[1], positions[2]),
            refusal=self._refusal(name),
        )

    def _places(self, name: str, pass_: Trace) -> tuple[int, int, int]:
        """Places of all images before the stride, after it, and after it down alone, over all calls."""
        layer = self.layers[name]
        sites = [site for site in pass_.sites if site.name == name]
        if sites:
            return (
                sum(_places(layer, s.input) for s in sites),
                sum(_places(layer, s.output) for s in sites),
                sum(_places(layer, _downwards(layer, s.input, s.output)) for s in sites),
            )
        weight = f"{name}.weight"
        made = [r.output for r in pass_.readings if r.parameter == weight and r.operation in MATRIX_FUNCTIONS]
        places = sum(_places(layer, shape) for shape in made if shape)
        return places, places, places

    def _refusal(self, name: str) -> str | None:
        return next((reason for ask in _REASONS if (reason := ask(self, name))), None)


def survey(model: nn.Module, example: Tensor) -> Survey:
    """Pass `example` (N, C, H, W), and once more with one image more: what grows with it belongs to the images."""
    names = list(layers(model))
    larger = of_one_more(lambda images: trace(model, names, images), example)
    stuck = trace(copy.deepcopy(model), (), example).foreign
    return Survey(model, len(example), trace(model, names, example), larger, frozenset(stuck))


def of_one_more(ask: Callable[[Tensor], T], example: Tensor) -> T | None:
    """What `ask` finds of `example` and one image more; None where the network takes no other number of images."""
    try:
        return ask(torch.cat([example, example[:1]]))
    except RuntimeError:
        return None


def of_one_image(small: int, large: int | None, images: int) -> int:
    """What is counted for one image: `small` for so many `images`, `large` for one image more; what does not grow with
    the images counts once. Where `large` is not known, all is taken to grow."""
    if large is None:
        return small // images
    each = large - small
    return each + (small - images * each)


def _places(layer: Layer, shape: torch.Size) -> int:
    if isinstance(layer, nn.Conv2d):
        return (shape[0] if len(shape) == 4 else 1) * shape[-2] * shape[-1]
    return shape[:-1].numel()


def _downwards(layer: Layer, before: torch.Size, after: torch.Size) -> torch.Size:
    """The shape between a convolution down and one across: the output's height, the input's width."""
    return torch.Size((*after[:-1], before[-1])) if isinstance(layer, nn.Conv2d) else after


def unreached(module: nn.Module, pass_: Trace, name: str = "") -> dict[str, str]:
    """Name -> class of the largest modules with params in which nothing was entered or read; `module` bears `name`."""
    inside = [name, *(f"{name}.{n}".lstrip(".") for n, _ in module.named_modules() if n)]
    tensors = [f"{name}.{n}".lstrip(".") for n, _ in (*module.named_parameters(), *module.named_buffers())]
    if name and not pass_.entered.intersection(inside) and not pass_.read.intersection(tensors):
        return {name: type(module).__name__} if any(True for _ in module.parameters()) else {}
    found: dict[str, str] = {}
    for key, child in module.named_children():
        found |= unreached(child, pass_, f"{name}.{key}".lstrip("."))
    return found


def _used_by_function(survey: Survey, name: str) -> str | None:
    readings = survey._used_without_call.get(name)
    if not readings:
        return None
    where = f"in '{readings[0].inside}'" if readings[0].inside else "in the network's own forward"
    return (
        f"it is not called: {readings[0].operation}() {where} computes with its weight, so nothing can take its place"
    )


def _read_from_outside(survey: Survey, name: str) -> str | None:
    own = {f"{name}.weight", f"{name}.bias"}
    readings = [r for r in survey.pass_.readings if r.parameter in own and r.operation not in HARMLESS]
    if not readings:
        return None
    first = readings[0]
    where, what = (
        f"'{first.inside}'" if first.inside else "the network's own forward",
        first.parameter.rpartition(".")[2],
    )
    return f"{where} reads its {what} ({first.operation}), which factors have not"


def _shares_its_weight(survey: Survey, name: str) -> str | None:
    others = sorted(owners(survey.model)[id(survey.layers[name].weight)] - {name})
    return f"its weight is shared with another layer ('{others[0]}')" if others else None


def _held_by_a_copy(survey: Survey, name: str) -> str | None:
    """Copies are compressed, and what a closure holds stays with the original."""
    if id(survey.layers[name].weight) not in survey.stuck:
        return None
    return "something beside the network's modules (a closure, say) reaches it, which a copy does not carry along"


def _patched(survey: Survey, name: str) -> str | None:
    layer = survey.layers[name]
    if hooks(layer):
        return "it has forward hooks of its own, which what takes its place would not run"
    if patched(layer):
        return "its forward was replaced on the object itself, which what takes its place would not do"
    if "weight" in borrowed(layer):
        return "its weight is no parameter of its own but made anew in every pass (weight norm, pruning)"
    return None


_REASONS: tuple[Callable[[Survey, str], str | None], ...] = (
    _patched, _used_by_function, _shares_its_weight, _read_from_outside, _held_by_a_copy,
)  # fmt: skip
