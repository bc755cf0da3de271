"""What flows between the stages of decomposed layers, over one pass of calibration images."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tdq_core.compression.condition.chain import stages_of
from tdq_core.graph.observe import Batches, Call, run_over, watch
from tdq_core.graph.uses import following_norms
from tdq_core.system.progress import Progress, silent


@dataclass
class Span:
    """Smallest, largest and mean squared value of each channel, (channels,) float64; zero is always within."""

    low: Tensor
    high: Tensor
    square: Tensor
    count: int = 0

    @classmethod
    def empty(cls, channels: int) -> "Span":
        low, high, square = torch.zeros(3, channels, dtype=torch.float64)
        return cls(low, high, square)

    def add(self, values: Tensor, *, convolution: bool) -> None:
        """Values (N, C, H, W) of a convolution or (..., C), float32: sums within a row are float32, rows are summed in
        float64."""
        rows = channel_rows(values, convolution=convolution)
        low, high = torch.aminmax(rows, dim=2)
        self.low = torch.minimum(self.low, low.amin(0).double())
        self.high = torch.maximum(self.high, high.amax(0).double())
        self.square += torch.linalg.vector_norm(rows, dim=2).double().square().sum(0)
        self.count += rows.shape[0] * rows.shape[2]

    @property
    def mean_square(self) -> Tensor:
        return self.square / max(self.count, 1)

    def scaled(self, scale: Tensor) -> "Span":
        """Of the same channels times `scale` (channels,), which may be negative."""
        ends = torch.stack([self.low * scale, self.high * scale])
        return Span(ends.amin(0), ends.amax(0), self.square * scale.square(), self.count)

    @property
    def widths(self) -> Tensor:
        """(channels,): high - low."""
        return self.high - self.low


@dataclass
class Observed:
    """One decomposed layer.

    Attributes:
        before: its input.
        inner: the outputs of its stages but the last.
        batch_norm: name of the batch norm that takes its output and nothing else; None where there is none.
    """

    before: Span
    inner: tuple[Span, ...]
    batch_norm: str | None = None


def observe(
    model: nn.Module, names: Sequence[str], batches: Batches, *, on_progress: Progress = silent
) -> dict[str, Observed]:
    """Spans of the inputs and inner activations of the decomposed layers `names`, over all their calls."""
    norms = following_norms(model, names, next(iter(batches()))[:1])
    found: dict[str, Observed] = {}
    before: dict[str, Span] = {}
    after: dict[str, Span] = {}
    for name in names:
        stages = stages_of(model, name)
        first, *_ = stages
        inner = {stage: Span.empty(len(layer.weight)) for stage, layer in list(stages.items())[:-1]}
        found[name] = Observed(Span.empty(_channels_in(stages[first])), tuple(inner.values()), norms.get(name))
        before[first] = found[name].before
        after |= inner

    def see(call: Call) -> None:
        convolution = isinstance(call.module, nn.Conv2d)
        if call.name in before:
            before[call.name].add(call.input, convolution=convolution)
        if call.name in after:
            after[call.name].add(call.output, convolution=convolution)

    with watch(model, before | after, see):
        run_over(model, batches, "condition", on_progress)
    return found


def _channels_in(layer: nn.Conv2d | nn.Linear) -> int:
    return layer.in_channels if isinstance(layer, nn.Conv2d) else layer.in_features


def channel_rows(values: Tensor, *, convolution: bool) -> Tensor:
    """([N,] C, H, W) of a convolution or (..., C) as (rows, C, n): channels that come first are not copied."""
    if convolution:
        return values.reshape(-1, *values.shape[-3:]).flatten(2)
    return values.flatten(0, -2).T[None]
