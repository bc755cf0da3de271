"""CP in the metric of a layer's moments: least squares for one factor after another, components bounded on request.

The output factor's normal equations are small and solved exactly; those of the other two couple channels and taps, and
conjugate gradients descend on them. With a penalty every step is a ridge regression: what grows is the sensitivity to
noise on the factors (see `decompose.epc`), which must pay for itself in error.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tdq_core.compression.calibrate.conjugate import by_both_sides, descend
from tdq_core.compression.calibrate.moments import Moments, solve
from tdq_core.compression.decompose.cp import Cp, equal_norms
from tdq_core.compression.decompose.epc import sensitivity, spread

SWEEPS, TOL, STEPS = 12, 1e-3, 10
PENALTY = 1e-2
"""With EPC: the sensitivity of the start counts as much as this share of the squared outputs."""
LEAST = 1e-10


def fit_cp(
    seen: Moments, start: Cp, *, penalty: float = 0.0, sweeps: int = SWEEPS, tol: float = TOL, steps: int = STEPS
) -> Cp:
    """CP of least E |y - W~ x|^2 + mu sensitivity, from `start`; `errors` are relative ones of the outputs.

    mu is `penalty` E |y|^2 over the start's sensitivity. The sum never increases; it ends when a sweep lowers it
    by less than the share `tol`. Without a penalty the sum is the error alone.
    """
    factors = spread([f.double() for f in (start.out, start.in_, start.spatial)])
    reach = sensitivity(factors)
    turns = _Steps(seen, penalty * seen.square / reach if reach > 0 else 0.0, steps)
    errors = [seen.relative(turns.missed(factors))]
    objective = turns.objective(factors)
    for _ in range(sweeps):
        factors = spread(turns.sweep(factors))
        before, objective = objective, turns.objective(factors)
        errors.append(seen.relative(turns.missed(factors)))
        if before - objective <= tol * before:
            break
    out, in_, spatial = equal_norms(factors)
    return replace(start, out=out, in_=in_, spatial=spatial, errors=tuple(errors))


@dataclass(frozen=True)
class _Steps:
    """The least-squares steps of one layer; `mu` weighs the sensitivity, `count` are conjugate gradients a step."""

    seen: Moments
    mu: float
    count: int = STEPS

    def missed(self, factors: list[Tensor]) -> float:
        return self.seen.missed(torch.einsum("or,ir,kr->oik", *factors).flatten(1))

    def objective(self, factors: list[Tensor]) -> float:
        return self.missed(factors) + self.mu * sensitivity(factors)

    def sweep(self, factors: list[Tensor]) -> list[Tensor]:
        _, in_, spatial = factors
        out = self._out(in_, spatial)
        gram = out.T @ out
        onto = (out.T @ self.seen.cross).view(-1, self.seen.channels, self.seen.taps)  # (r, C_in, K)
        in_ = self._in(out, in_, spatial, gram, onto)
        return [out, in_, self._spatial(out, in_, spatial, gram, onto)]

    def _out(self, in_: Tensor, spatial: Tensor) -> Tensor:
        rao = _rao(in_, spatial)
        gram = rao.T @ (self.seen.inputs @ rao)
        gram.diagonal().add_(LEAST * float(gram.diagonal().mean().clamp_min(1e-30)) + self._ridge(in_, spatial))
        return solve(gram, self.seen.cross @ rao)

    def _in(self, out: Tensor, in_: Tensor, spatial: Tensor, gram: Tensor, onto: Tensor) -> Tensor:
        seen, ridge = self.seen, self._ridge(out, spatial)

        def normal(factor: Tensor) -> Tensor:
            return (self._through(_rao(factor, spatial), gram) * spatial[None]).sum(1) + ridge * factor

        right = gram * (spatial.T @ seen.within @ spatial) + (ridge / seen.between.diagonal().mean()).diag()
        return self._descend(normal, (onto.movedim(0, -1) * spatial).sum(1), in_, seen.between, right)

    def _spatial(self, out: Tensor, in_: Tensor, spatial: Tensor, gram: Tensor, onto: Tensor) -> Tensor:
        seen, ridge = self.seen, self._ridge(out, in_)

        def normal(factor: Tensor) -> Tensor:
            return (self._through(_rao(in_, factor), gram) * in_[:, None]).sum(0) + ridge * factor

        right = gram * (in_.T @ seen.between @ in_) + ridge.diag()
        return self._descend(normal, (onto.movedim(0, -1) * in_[:, None]).sum(0), spatial, seen.within, right)

    def _through(self, rao: Tensor, gram: Tensor) -> Tensor:
        """(C_in, K, r): inputs rao gram."""
        return (self.seen.inputs @ rao @ gram).view(self.seen.channels, self.seen.taps, -1)

    def _descend(
        self, normal: Callable[[Tensor], Tensor], wanted: Tensor, start: Tensor, left: Tensor, right: Tensor
    ) -> Tensor:
        return descend(normal, wanted, start, by_both_sides(left, right), steps=self.count)

    def _ridge(self, one: Tensor, two: Tensor) -> Tensor:
        """(r,): what a unit of squared norm of the third factor's columns costs in sensitivity."""
        return self.mu * (len(one) * two.square().sum(0) + len(two) * one.square().sum(0))


def _rao(in_: Tensor, spatial: Tensor) -> Tensor:
    """The Khatri-Rao product (C_in K, r)."""
    return (in_[:, None] * spatial[None]).flatten(0, 1)
