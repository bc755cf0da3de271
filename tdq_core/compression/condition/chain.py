"""A decomposed layer as a chain of linear stages, and what may be multiplied in between without changing it.

That of a grouped layer is so many chains side by side that share nothing: channels may be mixed with those of their own
group, and each may be scaled.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from tdq_core.compression.decompose.groups import groups_of
from tdq_core.graph.modules import children


@dataclass(frozen=True)
class Chain:
    """Weights of a decomposed layer's stages, float64.

    Attributes:
        stages: (channels out, channels in / groups, taps) each, from the input on; a stage between R and R channels
            with 1 channel in a group is depthwise.
        gain: (C_out,), what the batch norm that follows multiplies each output by; ones where there is none.
        groups: of the layer; its last stage has as many.
    """

    stages: tuple[Tensor, ...]
    gain: Tensor
    groups: int = 1

    @classmethod
    def of(cls, module: nn.Sequential, gain: Tensor | None = None) -> "Chain":
        layers = layers_of(module)
        stages = tuple(layer.weight.detach().double().flatten(2) if layer.weight.ndim > 2
                       else layer.weight.detach().double()[:, :, None] for layer in layers)  # fmt: skip
        gain = torch.ones(len(stages[-1]), dtype=torch.float64) if gain is None else gain.double()
        return cls(stages, gain, groups_of(layers[-1]))

    @classmethod
    def side_by_side(cls, chains: Sequence["Chain"]) -> "Chain":
        """The chain of a layer from those of its groups."""
        if len(chains) == 1:
            return chains[0]
        stages = zip(*(chain.stages for chain in chains), strict=True)
        return cls(tuple(map(torch.cat, stages)), torch.cat([chain.gain for chain in chains]), len(chains))

    @cached_property
    def of_groups(self) -> tuple["Chain", ...]:
        """The inverse of `side_by_side`."""
        if self.groups == 1:
            return (self,)
        stages = zip(*(stage.chunk(self.groups) for stage in self.stages), strict=True)
        return tuple(Chain(own, gain) for own, gain in zip(stages, self.gain.chunk(self.groups), strict=True))

    @cached_property
    def depthwise(self) -> tuple[bool, ...]:
        """Whether each stage keeps the channels of a group apart."""
        stages = self.of_groups[0].stages
        before = (0, *(len(stage) for stage in stages[:-1]))
        return tuple(stage.shape[1] == 1 and width > 1 and len(stage) == width
                     for stage, width in zip(stages, before, strict=True))  # fmt: skip

    def per_input(self, j: int, values: Tensor) -> Tensor:
        """`values` of the channels that stage `j` takes, (channels in,), laid out to multiply its weights."""
        if self.depthwise[j]:
            return values[:, None, None]
        rows = len(self.stages[j]) // self.groups
        return values.view(self.groups, 1, -1).expand(-1, rows, -1).flatten(0, 1)[:, :, None]

    def largest_by_input(self, j: int) -> Tensor:
        """(channels in,): the largest weight of stage `j` for each channel that it takes."""
        over = (1, 2) if self.depthwise[j] else (0, 2)
        return torch.cat([chain.stages[j].abs().amax(over) for chain in self.of_groups])

    def into(self, j: int, squares: Tensor) -> Tensor:
        """(channels out,): of mean squares (channels in,) before stage `j`, what flows into each of its outputs."""
        taps = self.stages[j].shape[2]
        if self.depthwise[j]:
            return squares * taps
        sums = torch.stack([part.sum() for part in squares.chunk(self.groups)])
        return sums.repeat_interleave(len(self.stages[j]) // self.groups) * taps

    def scaled(self, scales: tuple[Tensor, ...]) -> "Chain":
        """Inner channel r after stage j times scales[j][r], divided out again by stage j + 1: the same function."""
        stages = list(self.stages)
        for j, scale in enumerate(scales):
            stages[j] = stages[j] * scale[:, None, None]
            stages[j + 1] = stages[j + 1] / self.per_input(j + 1, scale)
        return replace(self, stages=tuple(stages))

    def merged(self) -> Tensor:
        """(C_out, C_in / groups, taps): the kernel that the stages make together; at most one has several taps."""
        return torch.cat([chain._merged() for chain in self.of_groups])

    def _merged(self) -> Tensor:
        kernel = self.stages[0]
        for stage, depthwise in zip(self.stages[1:], self.depthwise[1:], strict=True):
            if depthwise:
                kernel = kernel * stage
            elif stage.shape[2] > 1:
                kernel = torch.einsum("src,ri->sic", stage, kernel[:, :, 0])
            else:
                kernel = torch.einsum("sr,ric->sic", stage[:, :, 0], kernel)
        return kernel

    @cached_property
    def energy_gains(self) -> tuple[Tensor, ...]:
        """For every inner activation (channels,): energy of the output per unit of white noise on one channel."""
        return tuple(map(torch.cat, zip(*(chain._energy_gains() for chain in self.of_groups), strict=True)))

    def _energy_gains(self) -> tuple[Tensor, ...]:
        found: list[Tensor] = []
        onward = self.gain.diag()  # (C_out, channels): from the output of the stage at hand to the layer's output
        for stage, depthwise in zip(reversed(self.stages[1:]), reversed(self.depthwise[1:]), strict=True):
            each = stage.transpose(0, 1) if depthwise else torch.einsum("oc,crk->ork", onward, stage)
            reach = onward[:, :, None] * each if depthwise else each
            found.append(reach.square().sum((0, 2)))
            onward = reach[:, :, 0]  # only the second stage has several taps, and nothing lies before its input
        return tuple(reversed(found))


def layers_of(module: nn.Sequential) -> list[nn.Conv2d | nn.Linear]:
    """The stages of a decomposed layer."""
    return [layer for layer in module if isinstance(layer, nn.Conv2d | nn.Linear)]


def stages_of(model: nn.Module, name: str) -> dict[str, nn.Conv2d | nn.Linear]:
    """The stages of the decomposed layer `name` by their names in `model`, from the input on."""
    stages = children(sequential(model, name))
    return {f"{name}.{key}": layer for key, layer in stages.items() if isinstance(layer, nn.Conv2d | nn.Linear)}


def sequential(model: nn.Module, name: str) -> nn.Sequential:
    """The decomposed layer `name`."""
    module = model.get_submodule(name)
    assert isinstance(module, nn.Sequential), "decomposed layers are Sequentials"
    return module


def write(chain: Chain, module: nn.Sequential) -> None:
    """Put the chain's weights into `module`, in place."""
    with torch.no_grad():
        for layer, stage in zip(layers_of(module), chain.stages, strict=True):
            layer.weight.copy_(stage.reshape(layer.weight.shape))
