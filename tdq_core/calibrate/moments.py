"""Second moments of a layer's patches and of the outputs that it should make of them."""

from dataclasses import dataclass

import torch
from torch import Tensor

RIDGE = 1e-3
"""Share of the mean variance of a patch's entries that is added to each entry's own: where the images say nothing, a
fit keeps to the weights."""
ROWS = 8192


@dataclass(frozen=True)
class Moments:
    """Everything about a layer that a calibrated fit needs, float64; centred, so that means are the bias' business.

    Attributes:
        inputs: (C_in K, C_in K), E x x^T of the patches x, with the ridge.
        cross: (C_out, C_in K), E y x^T with the wanted outputs y, with the ridge times the weights.
        squares: (C_out,), E y^2, with the ridge times the squared weights: the error of an all-zero layer.
        mean_in: (C_in K,); mean_out: (C_out,).
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

    def error(self, weight: Tensor) -> float:
        """sqrt(E |y - W~ x|^2 / E |y|^2) of `weight` (C_out, C_in, K_h, K_w); 0 where no output is wanted."""
        flat = weight.double().flatten(1)
        missed = self.square - 2 * float((flat * self.cross).sum()) + float((flat @ self.inputs * flat).sum())
        return (max(missed, 0.0) / self.square) ** 0.5 if self.square else 0.0

    def shift(self, weight: Tensor) -> Tensor:
        """(C_out,): mean of the wanted outputs less the mean of W~ x: what the bias has to add."""
        return self.mean_out - weight.double().flatten(1) @ self.mean_in

    def weighted(self, gain: Tensor) -> "Moments":
        """With output channel o counted gain[o] times."""
        return Moments(self.inputs, self.cross * gain[:, None], self.squares * gain.square(), self.mean_in,
                       self.mean_out * gain, self.kernel)  # fmt: skip


def moments(rows: Tensor, wanted: Tensor, weight: Tensor, *, ridge: float = RIDGE) -> Moments:
    """Moments of patches `rows` (n, C_in K) and outputs `wanted` (n, C_out) of a layer with `weight`, 4-way."""
    kernel = weight.double().flatten(1)
    mean_in, mean_out = rows.mean(0, dtype=torch.float64), wanted.mean(0, dtype=torch.float64)
    inputs = torch.zeros(rows.shape[1], rows.shape[1], dtype=torch.float64)
    cross, squares = torch.zeros_like(kernel), torch.zeros_like(mean_out)
    for x, y in zip(rows.split(ROWS), wanted.split(ROWS)):
        x, y = x - mean_in.float(), y - mean_out.float()
        inputs += (x.T @ x).double()
        cross += (y.T @ x).double()
        squares += y.double().square().sum(0)
    count = len(rows)
    extra = ridge * max(float(inputs.diagonal().mean()) / count, 1e-30)
    inputs = inputs / count
    inputs.diagonal().add_(extra)
    shape = (weight.shape[1], weight.shape[2], weight.shape[3])
    return Moments(inputs, cross / count + extra * kernel, squares / count + extra * kernel.square().sum(1), mean_in,
                   mean_out, shape)  # fmt: skip
