"""A decomposed layer as a chain of linear stages, and what may be multiplied in between without changing it."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from tdq_core.graph.modules import children


@dataclass(frozen=True)
class Chain:
    """Weights of a decomposed layer's stages, float64.

    Attributes:
        stages: (channels out, channels in / groups, taps) each, from the input on; a stage between R and R channels
            with 1 channel in a group is depthwise.
        gain: (C_out,), what the batch norm that follows multiplies each output by; ones where there is none.
    """

    stages: tuple[Tensor, ...]
    gain: Tensor

    @classmethod
    def of(cls, module: nn.Sequential, gain: Tensor | None = None) -> "Chain":
        stages = tuple(layer.weight.detach().double().flatten(2) if layer.weight.ndim > 2
                       else layer.weight.detach().double()[:, :, None] for layer in layers_of(module))  # fmt: skip
        return cls(stages, torch.ones(len(stages[-1]), dtype=torch.float64) if gain is None else gain.double())

    @cached_property
    def depthwise(self) -> tuple[bool, ...]:
        """Whether each stage keeps its channels apart."""
        before = (0, *(len(stage) for stage in self.stages[:-1]))
        return tuple(stage.shape[1] == 1 and width > 1 and len(stage) == width
                     for stage, width in zip(self.stages, before, strict=True))  # fmt: skip

    def scaled(self, scales: tuple[Tensor, ...]) -> "Chain":
        """Inner channel r after stage j times scales[j][r], divided out again by stage j + 1: the same function."""
        stages = list(self.stages)
        for j, (scale, depthwise) in enumerate(zip(scales, self.depthwise[1:], strict=True)):
            stages[j] = stages[j] * scale[:, None, None]
            stages[j + 1] = stages[j + 1] / (scale[:, None, None] if depthwise else scale[None, :, None])
        return Chain(tuple(stages), self.gain)

    def merged(self) -> Tensor:
        """(C_out, C_in, taps): the kernel that the stages make together; at most one of them has several taps."""
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
