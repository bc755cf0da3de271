"""Factors of a decomposed layer, rounded in turn in the metric of the whole layer's outputs.

W[o, c, k] = sum over s, q of last[o, s] middle[s, q, k] first[q, c]; the middle of CP is diagonal in s and q. Rows of a
factor are rounded one after another with error feedback: each is first refitted to what those rounded before it, in
whatever factor, have lost, and what lies in the null space of the factors after it costs nothing. When all are on their
grids they take turns: a row is rounded anew where that lowers the error of the whole. So are CP's three factors, whose
components overlap. Those of Tucker-2 hardly do: of it only the first is rounded here, the others as any layer is, when
their own inputs arrive.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tdq_core.compression.calibrate.moments import Moments, solve
from tdq_core.compression.condition.chain import Chain
from tdq_core.compression.quantize.aware.feedback import OnGrid, round_with_feedback
from tdq_core.compression.quantize.aware.quadratic import Quadratic
from tdq_core.compression.quantize.scheme import Scheme

TURNS, ENOUGH = 5, 0.02
"""Turns of all factors on their grids, at most; they end when one lowers the squared error by less than this share."""
STEADY = 1e-9


def has_inner(chain: Chain) -> bool:
    """Whether there is something to round here: three factors, as CP and Tucker-2 have."""
    return len(chain.stages) == 3


def round_inner(
    chain: Chain, seen: Sequence[Moments], schemes: Sequence[Scheme], *, turns: int = TURNS
) -> list[OnGrid]:
    """The first stage of `chain`, and all three where the second is depthwise, on the grids of their `schemes` with one
    scale a row, in the metric of the outputs that each group was `seen` to make.

    Returns:
        Integers (groups, rows, n) and scales (groups, rows) for each of these stages.
    """
    groups = [_Group(part, each, schemes) for part, each in zip(chain.of_groups, seen, strict=True)]
    for group in groups:
        group.settle(turns)
    return [
        OnGrid(torch.stack([g.integers[j] for g in groups]), torch.stack([g.scales[j] for g in groups]))
        for j in range(len(groups[0].integers))
    ]


class _Group:
    """One group's factors, some of their rows on the grid already."""

    def __init__(self, chain: Chain, seen: Moments, schemes: Sequence[Scheme]) -> None:
        self.first, self.middle, last = (stage.clone() for stage in chain.stages)
        self.last, self.depthwise = last[:, :, 0], chain.depthwise[1]
        self.seen, self.schemes = seen, schemes
        rounded = [self.first, self.middle] if self.depthwise else [self.first]
        self.factors = [factor.flatten(1) for factor in rounded]  # views: what is written here is in the factors
        self.integers = [torch.zeros_like(factor) for factor in self.factors]
        self.scales = [torch.ones_like(factor[:, 0]) for factor in self.factors]
        self.slope = torch.empty(0)

    def settle(self, turns: int) -> None:
        self._put_last(self._of_last().best[0])
        for j in range(len(self.factors)):
            self._sweep(j, only_better=False)
            self._put_last(self._of_last().best[0])
        if not self.depthwise:
            return
        if self._wide():
            self._even_columns()
        error = self._of_last()
        found, missed = round_with_feedback(error, self.schemes[2]), math.inf
        for _ in range(turns):
            self._put_last(found.to_weight()[0])
            before, missed = missed, self.seen.missed(self.last @ self._inner_kernel())
            if missed > (1 - ENOUGH) * before:
                break
            for j in range(len(self.factors)):
                self._sweep(j, only_better=True)
            found = round_with_feedback(self._of_last(), self.schemes[2], start=found)
        self.integers.append(found.integers[0])
        self.scales.append(found.scale[0])

    def _sweep(self, j: int, *, only_better: bool) -> None:
        for row in self.factors[j].square().sum(1).argsort(descending=True).tolist():
            self._round(j, row, only_better=only_better)

    def _of_last(self) -> Quadratic:
        """The layer's error in the last factor."""
        inner = self._inner_kernel()
        gram = _steady(inner @ self.seen.inputs @ inner.T)
        return Quadratic(gram[None], solve(gram, self.seen.cross @ inner.T)[None])

    def _put_last(self, last: Tensor) -> None:
        """With it goes the slope of the error in the whole weight: W E x x^T - E y x^T."""
        self.last = last
        self.slope = last @ self._inner_kernel() @ self.seen.inputs - self.seen.cross

    def _wide(self) -> bool:
        """Whether inner activations have bits to spare: their ranges may become unequal for the last factor's sake."""
        bits = self.schemes[2].activation_bits
        return bits is None or bits > self.schemes[2].weight_bits

    def _even_columns(self) -> None:
        """The same function with equal largest entries in the last factor's columns: a row's scale serves all alike.
        Only scales of the middle change."""
        largest = self.last.abs().amax(0)
        by = torch.where(largest > 0, largest / largest.max().clamp_min(1e-30), 1.0)
        self.scales[1] = (self.scales[1] * by).float().double()
        self.factors[1].copy_(self.integers[1] * self.scales[1][:, None])

    def _inner_kernel(self) -> Tensor:
        """(rows of the middle, C_in K): what flows into the last factor, of the patches."""
        if self.depthwise:
            return (self.middle * self.first).flatten(1)
        return torch.einsum("sqk,qc->sck", self.middle, self.first[:, :, 0]).flatten(1)

    def _round(self, j: int, row: int, *, only_better: bool) -> None:
        """Refit a row of a factor to what all others leave, and round it."""
        reach = self._reach_of_middle(row) if j else self._reach_of_first(row)
        now, hessian = self.factors[j][row].clone(), _steady(reach.hessian)
        error = Quadratic(hessian[None], (now - solve(hessian, reach.slope[None])[0])[None, None])
        found = round_with_feedback(error, self.schemes[j])
        new = found.to_weight()[0, 0]
        if only_better and float(error.errors(new[None, None])) >= float(error.errors(now[None, None])):
            return
        self.integers[j][row], self.scales[j][row] = found.integers[0, 0], found.scale[0, 0]
        self.factors[j][row] = new
        self.slope += reach.moved(new - now)

    def _reach_of_first(self, row: int) -> "_Reach":
        """Where entry c of the row moves, W[:, c, k] moves by onward[k] times that."""
        onward = self.middle[row].T * self.last[:, row] if self.depthwise else self.middle[:, row].T @ self.last.T
        channels, taps = self.seen.channels, self.seen.taps
        hessian = self._over_taps(onward @ onward.T)
        slope = torch.einsum("ko,ock->c", onward, self.slope.view(-1, channels, taps))
        seen = self.seen.inputs.view(channels, taps, -1)
        return _Reach(hessian, slope, lambda by: onward.T @ torch.einsum("c,ckn->kn", by, seen))

    def _over_taps(self, gram: Tensor) -> Tensor:
        """(C_in, C_in): the sum over taps k, l of gram[k, l] E x_ck x_dl, for a symmetric `gram`."""
        one, two = torch.triu_indices(len(gram), len(gram))
        return (gram[one, two] @ self.seen.tap_pairs).view(self.seen.channels, -1)

    def _reach_of_middle(self, row: int) -> "_Reach":
        """Where entry k of the row moves, W[:, c, k] moves by last[:, row] first[row, c] times that."""
        onward, first = self.last[:, row], self.first[row, :, 0]
        channels, taps = self.seen.channels, self.seen.taps
        seen = torch.einsum("c,ckn->kn", first, self.seen.inputs.view(channels, taps, -1))
        both = torch.einsum("c,ncl->nl", first, seen.view(taps, channels, taps))
        slope = (onward @ self.slope).view(channels, taps).T @ first
        return _Reach(onward.square().sum() * both, slope, lambda by: onward[:, None] * (by @ seen))


@dataclass(frozen=True)
class _Reach:
    """What a row can do.

    Attributes:
        hessian: (n, n), slope: (n,): half the second and first derivatives of the layer's error.
        moved: by how much the slope in the whole weight, (C_out, C_in K), changes when the row changes so.
    """

    hessian: Tensor
    slope: Tensor
    moved: Callable[[Tensor], Tensor]


def _steady(matrix: Tensor) -> Tensor:
    """Positive definite."""
    matrix.diagonal().add_(STEADY * matrix.diagonal().mean().clamp_min(1e-30))
    return matrix
