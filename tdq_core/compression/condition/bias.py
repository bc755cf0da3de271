"""Bias correction: rounded weights shift the mean of a layer's output, which is measured and taken back.

Nagel et al., "Data-free quantization through weight equalization and bias correction" (ICCV 2019), the empirical form.
"""

import copy
from collections.abc import Mapping

from torch import Tensor, nn

from tdq_core.compression.condition.chain import Chain, sequential, write
from tdq_core.compression.condition.observe import channel_rows
from tdq_core.compression.condition.rounding import rounded
from tdq_core.compression.quantize.scheme import Scheme
from tdq_core.graph.observe import Batches, Call, run_over, watch


def correct_biases(
    model: nn.Module, chains: Mapping[str, Chain], norms: Mapping[str, str], batches: Batches,
    schemes: Mapping[str, Scheme],
) -> dict[str, str]:  # fmt: skip
    """Take the mean shift of every decomposed layer's output back, in place.

    Args:
        chains: the layers by name, as they are before rounding.
        norms: the batch norm that follows a layer, where one does.
        schemes: what rounds it.

    Returns:
        By layer, what took it: 'batch norm' (its running mean), 'bias', or 'none' (neither is there; not corrected).
    """
    shifts = {name: _Shift(sequential(model, name), chain, schemes[name]) for name, chain in chains.items()}
    with watch(model, shifts, lambda call: shifts[call.name].add(call)):
        run_over(model, batches, "condition")
    return {name: _take(model, name, norms.get(name), shift.mean) for name, shift in shifts.items()}


class _Shift:
    """The mean over images, places and calls of (rounded layer - layer), by output channel."""

    def __init__(self, module: nn.Sequential, chain: Chain, scheme: Scheme) -> None:
        self._rounded = copy.deepcopy(module)
        write(rounded(chain, scheme), self._rounded)
        self._convolution = isinstance(module[-1], nn.Conv2d)
        self._sum: Tensor | None = None
        self._count = 0

    def add(self, call: Call) -> None:
        rows = channel_rows(self._rounded(call.input) - call.output, convolution=self._convolution)
        total = rows.sum(2).double().sum(0)
        self._sum = total if self._sum is None else self._sum + total
        self._count += rows.shape[0] * rows.shape[2]

    @property
    def mean(self) -> Tensor:
        assert self._sum is not None, "a pass came before"
        return self._sum / self._count


def _take(model: nn.Module, name: str, norm: str | None, shift: Tensor) -> str:
    bias = sequential(model, name)[-1].bias
    if isinstance(bias, Tensor):
        bias.data -= shift.to(bias.dtype)
        return "bias"
    if norm is None:
        return "none"
    mean = model.get_submodule(norm).running_mean
    assert isinstance(mean, Tensor), "only batch norms with running statistics are found"
    mean += shift.to(mean.dtype)
    return "batch norm"
