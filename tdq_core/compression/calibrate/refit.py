"""Where a layer's factors go: fitted to its moments, their means given back to what follows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import torch
from torch import Tensor, nn

from tdq_core.compression.calibrate.fit import Fitted, fitted_groups
from tdq_core.compression.calibrate.moments import Moments, output_weights
from tdq_core.compression.decompose.factors import Details, Factors, Options
from tdq_core.compression.decompose.groups import groups_of, parts_of
from tdq_core.compression.decompose.modules import Factorized, assemble, kernel_of, require_finite
from tdq_core.compression.memory import Memory
from tdq_core.compression.methods import IMPLEMENTATIONS
from tdq_core.ranks.plan import LayerPlan


class MeanTaken(Details, frozen=True):
    """What took back the mean of a layer's outputs: 'batch norm', 'bias' or 'none'."""

    mean_taken_by: str


@dataclass(frozen=True)
class Place:
    """One layer between the original and the compressed network.

    Attributes:
        norm: name of the batch norm that alone takes its output, or None.
    """

    model: nn.Module
    compressed: nn.Module
    name: str
    norm: str | None

    @cached_property
    def layer(self) -> nn.Conv2d | nn.Linear:
        """The original one."""
        layer = self.model.get_submodule(self.name)
        assert isinstance(layer, nn.Conv2d | nn.Linear), "the plan was made from this model's own table"
        return layer

    @cached_property
    def kernel(self) -> Tensor:
        """(C_out, C_in / groups, K_h, K_w)."""
        return kernel_of(self.layer)

    @property
    def groups(self) -> int:
        return groups_of(self.layer)

    @property
    def centred(self) -> bool:
        """Whether a bias or a batch norm can take means back."""
        return self.norm is not None or self.layer.bias is not None

    def settle(self, planned: LayerPlan, seen: Sequence[Moments], options: Options, memory: Memory) -> Factorized:
        """Factors of least error in what each group was `seen` to do; the batch norm of the compressed network takes
        the means."""
        fitted = self._fit(planned, seen, options, memory)
        made = require_finite(planned, assemble(self.layer, planned.method, fitted.factors, fitted.details))
        taken = self._take_means(made.module, seen, fitted.factors.to_weight())
        return replace(made, details=(*made.details, MeanTaken(mean_taken_by=taken)))

    def _fit(self, planned: LayerPlan, seen: Sequence[Moments], options: Options, memory: Memory) -> Fitted:
        gain = output_weights(self.model.get_submodule(self.norm) if self.norm else None, len(self.kernel))
        method, ranks, groups = planned.method, planned.ranks, self.groups

        def start(group: int) -> Factors:
            return parts_of(memory.factors(self.kernel, method, ranks, options, groups=groups))[group]

        fit = IMPLEMENTATIONS[method].fit
        kernels, gains = self.kernel.chunk(groups), gain.chunk(groups)
        parts = [fit(s, k, ranks, g, options, partial(start, n)) for n, (s, k, g) in
                 enumerate(zip(seen, kernels, gains, strict=True))]  # fmt: skip
        return fitted_groups(parts, kernels, [s.weighted(g).square for s, g in zip(seen, gains, strict=True)])

    def _take_means(self, made: nn.Sequential, seen: Sequence[Moments], weight: Tensor) -> str:
        """Give the outputs their mean back; a batch norm that follows also the variance, as it is of less than y."""
        kernels = weight.chunk(len(seen))
        shift = _cat(seen, kernels, Moments.shift)
        if self.layer.bias is not None:
            shift = shift - self.layer.bias.detach().double()
        if self.norm is not None:
            norm = self.compressed.get_submodule(self.norm)
            assert isinstance(norm.running_mean, Tensor) and isinstance(norm.running_var, Tensor)
            squares, mean_out = torch.cat([s.squares for s in seen]), torch.cat([s.mean_out for s in seen])
            share = (_cat(seen, kernels, Moments.variance) / squares.clamp_min(1e-30)).clamp(1e-4, 1e4)
            mean = mean_out - shift - share.sqrt() * (mean_out - norm.running_mean.double())
            norm.running_mean.copy_(mean)
            norm.running_var *= share.float()
            return "batch norm"
        bias = made[-1].bias
        if isinstance(bias, Tensor):
            bias.data += shift.to(bias.dtype)
            return "bias"
        return "none"


def _cat(seen: Sequence[Moments], kernels: Sequence[Tensor], of: Callable[[Moments, Tensor], Tensor]) -> Tensor:
    """(C_out,): what `of` says of each group's outputs."""
    return torch.cat([of(part, kernel) for part, kernel in zip(seen, kernels, strict=True)])
