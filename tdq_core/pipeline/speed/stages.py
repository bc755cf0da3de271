"""Layers, and what takes their place, as plain convolutions and matrix products of a size: what a runtime times."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from tdq_core.graph.modules import Layer as Module
from tdq_core.graph.trace import Site, trace
from tdq_core.layers.methods import Stage, method
from tdq_core.layers.table import Layer

Pair = tuple[int, int]


class Operation(NamedTuple):
    """One convolution, or one matrix product (`kernel` is None) of `size` rows.

    Attributes:
        images: that are passed at once; 1 of a matrix product, whose rows are those of all images.
        size, out_size: (height, width) before and after.
    """

    images: int
    c_in: int
    c_out: int
    size: Pair
    out_size: Pair
    kernel: Pair | None = None
    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)
    groups: int = 1

    @property
    def weight(self) -> tuple[int, ...]:
        """Shape of its weight."""
        return self.c_out, self.c_in // self.groups, *(self.kernel or ())

    @property
    def numbers(self) -> int:
        """Of its input, its weight and its output."""
        return math.prod(self.weight) + self.images * (
            self.c_in * math.prod(self.size) + self.c_out * math.prod(self.out_size)
        )

    @property
    def pads(self) -> tuple[int, int, int, int]:
        """Top, left, bottom, right: as the sizes demand."""
        assert self.kernel is not None, "only convolutions are padded"
        axes = zip(self.size, self.out_size, self.kernel, self.stride, self.dilation, strict=True)
        missing = [max((after - 1) * s + d * (k - 1) + 1 - before, 0) for before, after, k, s, d in axes]
        return missing[0] // 2, missing[1] // 2, missing[0] - missing[0] // 2, missing[1] - missing[1] // 2


class Calls(NamedTuple):
    """A layer as the network calls it: once for each of `sites`."""

    layer: Layer
    module: Module
    sites: Sequence[Site]

    def dense(self) -> list[Operation]:
        """The layer as it is."""
        return [_whole(self.module, site) for site in self.sites]

    def decomposed(self, name: str, ranks: tuple[int, ...]) -> list[Operation]:
        """Its sub-layers by the method `name` at `ranks`, one after the other."""
        stages = method(name).all_stages(self.layer, ranks)
        return [each for site in self.sites for each in _chain(_whole(self.module, site), stages)]


def calls_of(model: nn.Module, layers: Sequence[Layer], images: Tensor) -> list[Calls]:
    """How the network calls `layers` on `images` (N, C, H, W); those that it never calls are left out."""
    names = [layer.name for layer in layers]
    sites = trace(model, names, images).sites
    found = [Calls(la, _module(model, la.name), [s for s in sites if s.name == la.name]) for la in layers]
    return [each for each in found if each.sites]


def _module(model: nn.Module, name: str) -> Module:
    module = model.get_submodule(name)
    assert isinstance(module, Module), "it is in the layer table"
    return module


def _whole(module: Module, site: Site) -> Operation:
    if isinstance(module, nn.Linear):
        rows = math.prod(site.input[:-1])
        return Operation(1, module.in_features, module.out_features, (rows, 1), (rows, 1))
    pair = (module.kernel_size[0], module.kernel_size[1])
    return Operation(
        site.input[0] if len(site.input) == 4 else 1, module.in_channels, module.out_channels,
        (site.input[-2], site.input[-1]), (site.output[-2], site.output[-1]), pair,
        (module.stride[0], module.stride[1]), (module.dilation[0], module.dilation[1]), module.groups,
    )  # fmt: skip


def _chain(whole: Operation, stages: Sequence[Stage]) -> list[Operation]:
    """Sub-layers of `whole`: each takes what the one before gives, and the one with the kernel carries the stride."""
    chain, channels, size = [], whole.c_in, whole.size
    for stage in stages:
        if whole.kernel is None:
            chain.append(whole._replace(c_in=channels, c_out=stage.out))
        else:
            carries = stage.kernel
            out = tuple(whole.out_size[n] if carries[n] else size[n] for n in (0, 1))
            chain.append(whole._replace(
                c_in=channels, c_out=stage.out, size=size, out_size=(out[0], out[1]), groups=channels // stage.seen,
                kernel=_where(carries, whole.kernel), stride=_where(carries, whole.stride),
                dilation=_where(carries, whole.dilation),
            ))  # fmt: skip
            size = chain[-1].out_size
        channels = stage.out
    return chain


def _where(carries: tuple[bool, bool], pair: Pair) -> Pair:
    return pair[0] if carries[0] else 1, pair[1] if carries[1] else 1
