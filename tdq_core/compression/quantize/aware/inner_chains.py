"""Decomposed layers in a network whose inner factors are rounded together, when images arrive at the first of them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tdq_core.compression.calibrate.moments import moments_of_groups
from tdq_core.compression.condition.chain import Chain, stages_of
from tdq_core.compression.quantize.aware.feedback import OnGrid
from tdq_core.compression.quantize.aware.quadratic import RIDGE
from tdq_core.compression.quantize.aware.whole_layer import has_inner, round_inner
from tdq_core.compression.quantize.scheme import Scheme
from tdq_core.graph.modules import Layer, of_kind
from tdq_core.graph.stand_in import Factored


@dataclass(frozen=True)
class InnerChain:
    """A decomposed layer.

    Attributes:
        names: of its stages.
        dense: a convolution or linear layer of the same geometry, without values: what patches the whole sees.
        centred: whether the last stage has a bias.
    """

    names: tuple[str, ...]
    chain: Chain
    dense: Layer
    centred: bool

    @property
    def last(self) -> str:
        return self.names[-1]

    def rounded(self, patches: list[Tensor], wanted: list[Tensor], schemes: Mapping[str, Scheme]) -> dict[str, OnGrid]:
        """By name, the stages that are rounded together; `patches` and the last stage's `wanted` outputs are those of
        each call."""
        kernel = self.chain.merged().view(self.dense.weight.shape)
        seen = moments_of_groups(torch.cat(patches), torch.cat(wanted), kernel, self.chain.groups,
                                 centred=self.centred, ridge=RIDGE)  # fmt: skip
        found = round_inner(self.chain, seen, [schemes[name] for name in self.names])
        return dict(zip(self.names, found, strict=False))


def inner_chains(model: nn.Module, names: Collection[str], schemes: Mapping[str, Scheme]) -> dict[str, InnerChain]:
    """By its first stage, every decomposed layer of `model` whose stages are all among `names`, each with a scale a
    row and no bias inside."""
    found = {}
    for name, module in of_kind(model, Factored).items():
        stages = stages_of(model, name)
        chain = Chain.of(module)
        free = all(layer.bias is None for layer in list(stages.values())[:-1])
        by_row = all(each in names and schemes[each].granularity == "channel" for each in stages)
        if has_inner(chain) and free and by_row:
            centred = list(stages.values())[-1].bias is not None
            found[next(iter(stages))] = InnerChain(tuple(stages), chain, _dense(module), centred)
    return found


def _dense(module: Factored) -> Layer:
    kind = nn.Linear if "in_features" in module.said else nn.Conv2d
    return kind(**module.said, bias=False, device="meta")
