"""The two ends of a network, which are small and most sensitive."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from tdq_core.graph.modules import Layer, layers
from tdq_core.graph.trace import trace


@dataclass(frozen=True)
class Ends:
    """Names of the layers at both ends.

    Attributes:
        first: the convolution that is called first; None where there is none.
        last: the linear layer that is called last, the last convolution where there is none; may be the first one too.
    """

    first: str | None
    last: str | None

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for name in (self.first, self.last) if name is not None))


def ends(model: nn.Module, example: Tensor) -> Ends:
    """The ends of `model` as `example` (N, C, H, W) passes through it."""
    found = layers(model)
    return ends_of([site.name for site in trace(model, found, example).sites], found)


def ends_of(order: Sequence[str], found: Mapping[str, Layer]) -> Ends:
    """The ends where the layers `found` are called in this `order`."""
    convolutions, linears = ([n for n in order if isinstance(found[n], kind)] for kind in (nn.Conv2d, nn.Linear))
    return Ends(next(iter(convolutions), None), next(reversed(linears or convolutions), None))
