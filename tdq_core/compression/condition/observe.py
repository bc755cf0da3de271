"""What flows between the stages of decomposed layers, over one pass of calibration images."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from tdq_core.compression.condition.chain import layers_of
from tdq_core.system.progress import Progress, silent

Batches = Callable[[], Iterable[Tensor]]


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

    def add(self, values: Tensor) -> None:
        """Values (N, C, H, W) or (..., C), float32: sums within a row are float32, rows are summed in float64."""
        rows = channel_rows(values)
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
    """Spans of the inputs and inner activations of the decomposed layers `names`."""
    found: dict[str, Observed] = {}
    norms = following_norms(model, names, next(iter(batches())))
    with _hooks() as hooks:
        for name in names:
            layers = layers_of(_sequential(model, name))
            inner = tuple(Span.empty(len(layer.weight)) for layer in layers[:-1])
            seen = Observed(Span.empty(_channels_in(layers[0])), inner, norms.get(name))
            found[name] = seen
            hooks.append(layers[0].register_forward_pre_hook(lambda _, args, span=seen.before: span.add(args[0])))
            for layer, span in zip(layers, seen.inner):
                hooks.append(layer.register_forward_hook(lambda _, __, out, span=span: span.add(out)))
        pass_through(model, batches, on_progress)
    return found


def pass_through(model: nn.Module, batches: Batches, on_progress: Progress = silent) -> None:
    """Run the model over all batches, for its hooks."""
    with torch.no_grad():
        for done, batch in enumerate(batches(), start=1):
            model(batch)
            on_progress("condition", done, 0)


def _channels_in(layer: nn.Conv2d | nn.Linear) -> int:
    return layer.in_channels if isinstance(layer, nn.Conv2d) else layer.in_features


def _sequential(model: nn.Module, name: str) -> nn.Sequential:
    module = model.get_submodule(name)
    assert isinstance(module, nn.Sequential), "decomposed layers are Sequentials"
    return module


def channel_rows(values: Tensor) -> Tensor:
    """(N, C, H, W) or (..., C) as (rows, C, n): nothing is copied where channels come first already."""
    return values.flatten(2) if values.ndim == 4 else values.flatten(0, -2).T[None]


@dataclass
class _Flow:
    """Which module made a tensor, and who took it."""

    made: list[tuple[str, Tensor]] = field(default_factory=list)
    taken: dict[str, list[str]] = field(default_factory=dict)


def following_norms(model: nn.Module, names: Sequence[str], batch: Tensor) -> dict[str, str]:
    """Layer name -> name of the batch norm that alone takes its output."""
    flow = _Flow()
    leaves = {n: m for n, m in model.named_modules() if not list(m.children())}

    def takes(taker: str) -> Callable[..., None]:
        def hook(_: nn.Module, args: tuple[Any, ...]) -> None:
            for maker, tensor in flow.made:
                if args and args[0] is tensor:
                    flow.taken.setdefault(maker, []).append(taker)

        return hook

    with _hooks() as hooks:
        for name in names:
            module = model.get_submodule(name)
            hooks.append(module.register_forward_hook(lambda _, __, out, name=name: flow.made.append((name, out))))
        hooks += [leaf.register_forward_pre_hook(takes(name)) for name, leaf in leaves.items()]
        with torch.no_grad():
            model(batch[:1])
    return {maker: takers[0] for maker, takers in flow.taken.items()
            if len(takers) == 1 and isinstance(leaves[takers[0]], nn.BatchNorm2d)}  # fmt: skip


@contextmanager
def _hooks() -> Iterator[list[Any]]:
    handles: list[Any] = []
    try:
        yield handles
    finally:
        for handle in handles:
            handle.remove()
