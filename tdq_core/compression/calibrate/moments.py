"""Second moments of a layer's patches and of the outputs that it should make of them."""

import math
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from tdq_core.graph.norms import gain_of

RIDGE = 1e-3
"""Share of the mean variance of a patch's entries that is added to each entry's own: where the images say nothing, a
fit keeps to the weights."""
LEAST = 1e-12
"""Of the largest variance: below it a direction of the inputs is not seen."""
ROWS = 8192
WIDE = 1024
"""Inputs of a patch from which on descents multiply with float32; what is exact, and what ends them, is float64."""


@dataclass(frozen=True)
class Moments:
    """Everything about a layer that a calibrated fit needs, float64; K = K_h K_w.

    Attributes:
        inputs: (C_in K, C_in K), E x x^T of the patches x, with the ridge.
        cross: (C_out, C_in K), E y x^T with the wanted outputs y, with the ridge times the weights.
        squares: (C_out,), E y^2, with the ridge times the squared weights: the error of an all-zero layer.
        mean_in: (C_in K,); mean_out: (C_out,): taken off x and y before; zero where nothing can take them back.
        kernel: (C_in, K_h, K_w).
    """

    inputs: Tensor
    cross: Tensor
    squares: Tensor
    mean_in: Tensor
    mean_out: Tensor
    kernel: tuple[int, int, int]

    @property
    def square(self) -> float:
        return float(self.squares.sum())

    @property
    def channels(self) -> int:
        return self.kernel[0]

    @property
    def taps(self) -> int:
        return math.prod(self.kernel[1:])

    @cached_property
    def inputs_of_steps(self) -> Tensor:
        """`inputs` for the steps of a descent and for variances: of wide patches as float32, twice as fast."""
        return self.inputs.float() if len(self.inputs) >= WIDE else self.inputs

    @cached_property
    def blocks(self) -> Tensor:
        """`inputs` as (C_in, K, C_in, K)."""
        return self.inputs.view(self.channels, self.taps, self.channels, self.taps)

    @cached_property
    def tap_pairs(self) -> Tensor:
        """(K (K + 1) / 2, C_in C_in): for taps k <= l, in the order of `torch.triu_indices`, the sum of the covariances
        of channels at (k, l) and at (l, k), one of them where k is l."""
        one, two = torch.triu_indices(self.taps, self.taps)
        pairs = torch.stack([self.blocks[:, k, :, m] for k, m in zip(one.tolist(), two.tolist(), strict=True)])
        pairs[one != two] += pairs[one != two].mT
        return pairs.flatten(1)

    @cached_property
    def between(self) -> Tensor:
        """(C_in, C_in): the covariance of channels at one tap, the mean over the taps."""
        return self.blocks.diagonal(dim1=1, dim2=3).mean(-1)

    @cached_property
    def within(self) -> Tensor:
        """(K, K): the covariance of taps in one channel, the mean over the channels, at mean diagonal 1: `inputs` is
        about the Kronecker product of `between` and this."""
        taps = self.blocks.diagonal(dim1=0, dim2=2).mean(-1)
        return taps / taps.diagonal().mean().clamp_min(1e-30)

    @cached_property
    def column(self) -> Tensor:
        """(C_in K_h, C_in K_h): the covariance of one column of a patch, the mean over the columns."""
        c_in, down, across = self.kernel
        columns = self.inputs.view(c_in * down, across, c_in * down, across)
        return columns.diagonal(dim1=1, dim2=3).mean(-1)

    @cached_property
    def column_roots(self) -> tuple[Tensor, Tensor]:
        """A root of `column`, whose columns are its eigenvectors in their length, and that of its inverse."""
        values, vectors = torch.linalg.eigh(self.column)
        root = values.clamp_min(LEAST * float(values[-1].clamp_min(1e-30))).sqrt()
        return vectors * root, vectors / root

    @cached_property
    def best(self) -> Tensor:
        """(C_out, C_in K): the weight of least error, of any rank."""
        return solve(self.inputs, self.cross)

    def missed(self, weight: Tensor) -> float:
        """E |y - W~ x|^2 of `weight` (C_out, C_in K)."""
        return max(self.square - 2 * float((weight * self.cross).sum())
                   + float((weight @ self.inputs * weight).sum()), 0.0)  # fmt: skip

    def relative(self, missed: float) -> float:
        """An error `missed` as sqrt of its share of E |y|^2; 0 where no output is wanted."""
        return math.sqrt(max(missed, 0.0) / self.square) if self.square > 0 else 0.0

    def error(self, weight: Tensor) -> float:
        """sqrt(E |y - W~ x|^2 / E |y|^2) of `weight` (C_out, C_in, K_h, K_w)."""
        return self.relative(self.missed(weight.double().flatten(1)))

    def shift(self, weight: Tensor) -> Tensor:
        """(C_out,): mean of the wanted outputs less the mean of W~ x: what a bias has to add."""
        return self.mean_out - weight.double().flatten(1) @ self.mean_in

    def variance(self, weight: Tensor) -> Tensor:
        """(C_out,): E (W~ x)^2."""
        inputs = self.inputs_of_steps  # a variance needs no more digits
        flat = weight.to(inputs.dtype).flatten(1)
        return (flat @ inputs * flat).double().sum(1)

    def weighted(self, gain: Tensor) -> "Moments":
        """With output channel o counted gain[o] times; the same object again for the same gain, with all that is known
        of it by then."""
        latest = self._weighted
        if not latest or not torch.equal(latest[0][0], gain):
            cross, squares = self.cross * gain[:, None], self.squares * gain.square()
            made = replace(self, cross=cross, squares=squares, mean_out=self.mean_out * gain)
            if "best" in self.__dict__:  # row by row it is what it was: it need not be solved for again
                made.__dict__["best"] = self.best * gain[:, None]
            made.__dict__["inputs_of_steps"] = self.inputs_of_steps
            latest[:] = [(gain, made)]
        return latest[0][1]

    @cached_property
    def _weighted(self) -> "list[tuple[Tensor, Moments]]":
        """The latest gain, and what came of it."""
        return []

    def whitened_by_channel(self) -> tuple[Tensor, Tensor]:
        """The best weight on whitened input channels, ((C_out K), C_in), and what takes its input basis back to that of
        the channels, (C_in, C_in): as if all taps saw the same channels, uncorrelated with each other."""
        values, vectors = torch.linalg.eigh(self.between)
        root = values.clamp_min(LEAST * float(values[-1].clamp_min(1e-30))).sqrt()
        by_tap = self.best.view(-1, self.channels, self.taps).transpose(1, 2)
        return (by_tap @ (vectors * root)).flatten(0, 1), vectors / root


def moments(rows: Tensor, wanted: Tensor, weight: Tensor, *, centred: bool = True, ridge: float = RIDGE) -> Moments:
    """Moments of patches `rows` (n, C_in K) and outputs `wanted` (n, C_out) of a layer with `weight` (C_out, C_in,
    K_h, K_w), row by row of one patch; `centred` where a bias or a batch norm can take the means back."""
    assert len(rows) == len(wanted), "one output for each patch"
    kernel = weight.double().flatten(1)
    mean_in, mean_out = (m.mean(0, dtype=torch.float64) * centred for m in (rows, wanted))
    inputs = torch.zeros(rows.shape[1], rows.shape[1], dtype=torch.float64)
    cross, squares = torch.zeros_like(kernel), torch.zeros_like(mean_out)
    for x, y in zip(rows.split(ROWS), wanted.split(ROWS), strict=True):
        x, y = x - mean_in.float(), y - mean_out.float()
        inputs += (x.T @ x).double()
        cross += (y.T @ x).double()
        squares += y.double().square().sum(0)
    count, shape = len(rows), (weight.shape[1], weight.shape[2], weight.shape[3])
    plain = Moments(inputs / count, cross / count, squares / count, mean_in, mean_out, shape)
    return with_ridge(plain, weight, ridge=ridge)


def moments_of_groups(
    rows: Tensor, wanted: Tensor, weight: Tensor, groups: int, *, centred: bool = True, ridge: float = RIDGE
) -> tuple[Moments, ...]:
    """`moments` of each group of a layer with `weight` (C_out, C_in / groups, K_h, K_w): it sees its own channels of
    the patches (n, C_in K) and makes its own of the outputs (n, C_out)."""
    parts = zip(rows.chunk(groups, 1), wanted.chunk(groups, 1), weight.chunk(groups), strict=True)
    return tuple(moments(x, y, kernel, centred=centred, ridge=ridge) for x, y, kernel in parts)


def with_ridge(plain: Moments, weight: Tensor, *, ridge: float = RIDGE) -> Moments:
    """`plain` moments of a layer with `weight`, as if each entry of a patch varied a little on its own as well."""
    kernel = weight.double().flatten(1)
    extra = ridge * float(plain.inputs.diagonal().mean().clamp_min(1e-30))
    inputs = plain.inputs.clone()
    inputs.diagonal().add_(extra)
    squares = plain.squares + extra * kernel.square().sum(1)
    return replace(plain, inputs=inputs, cross=plain.cross + extra * kernel, squares=squares)


def output_weights(norm: nn.Module | None, outputs: int) -> Tensor:
    """(C_out,): how much an error of each output counts: what the batch norm that follows multiplies it by,
    ones where there is none."""
    if norm is None:
        return torch.ones(outputs, dtype=torch.float64)
    gain = gain_of(norm).abs().double()
    return gain.clamp_min(1e-4 * float(gain.max()) or 1.0)


def solve(matrix: Tensor, wanted: Tensor) -> Tensor:
    """`wanted` (m, n) times the inverse of the symmetric positive `matrix` (n, n)."""
    lower, failed = torch.linalg.cholesky_ex(matrix)
    if failed:
        return wanted @ torch.linalg.pinv(matrix, hermitian=True)
    return torch.cholesky_solve(wanted.T, lower).T
