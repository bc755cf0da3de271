"""EPC solved to its optimum: within the bound, never above the start, and where nothing pulls the factors any more."""

import pytest
import torch

from tdq_core.compression.decompose.components import sensitivity
from tdq_core.compression.decompose.epc import correct
from tdq_core.compression.decompose.epc_optimum import optimum
from tdq_core.compression.decompose.factors import Options
from tdq_core.compression.methods import decompose


def made(*factors: torch.Tensor) -> torch.Tensor:
    return torch.einsum("ir,jr,kr->ijk", *factors)


def start(seed: int, rank: int = 7) -> tuple[torch.Tensor, list[torch.Tensor], float]:
    """Components that cancel each other, of a tensor that is not of their rank, corrected by block updates."""
    generator = torch.Generator().manual_seed(seed)
    factors = [torch.randn(size, rank, generator=generator, dtype=torch.float64) for size in (6, 5, 4)]
    for factor in factors:
        factor[:, 1] = factor[:, 0] + 0.05 * factor[:, 1]
    noise = torch.randn(6, 5, 4, generator=generator, dtype=torch.float64)
    tensor = made(*factors) + 0.3 * noise
    bound = float((tensor - made(*factors)).norm())
    return tensor, correct(tensor, factors, bound, objective="sensitivity").factors, bound


@pytest.mark.parametrize("seed", range(3))
def test_within_the_bound_and_below_the_block_updates(seed):
    tensor, blocks, bound = start(seed)
    found = optimum(tensor, blocks, bound)
    assert float((tensor - made(*found)).norm()) <= bound
    assert sensitivity(found) < sensitivity(blocks)


@pytest.mark.parametrize("seed", range(3))
def test_at_the_optimum_the_gradients_oppose_each_other(seed):
    tensor, blocks, bound = start(seed)
    factors = [f.requires_grad_() for f in optimum(tensor, blocks, bound)]
    missed = (tensor - made(*factors)).square().sum()
    squares = [f.square().sum(0) for f in factors]
    grown = 6 * squares[1] * squares[2] + 5 * squares[0] * squares[2] + 4 * squares[0] * squares[1]
    pull, push = (torch.cat([g.flatten() for g in torch.autograd.grad(v, factors, retain_graph=True)])
                  for v in (grown.sum(), missed))  # fmt: skip
    assert float(pull @ push / pull.norm() / push.norm()) < -0.95


def test_nothing_to_correct_is_given_back():
    zeros = [torch.zeros(size, 2, dtype=torch.float64) for size in (3, 4, 2)]
    assert optimum(torch.zeros(3, 4, 2, dtype=torch.float64), zeros, 0.0) is zeros


def test_a_kernel_keeps_its_error():
    weight = torch.randn(12, 10, 3, 3, generator=torch.Generator().manual_seed(0))
    plain, best = (decompose(weight, "cp", (14,), Options(eta=0.05, optimal=o)) for o in (False, True))

    def error(factors):
        return float((factors.to_weight() - weight.double()).norm())

    assert error(best) <= error(plain) * 1.01
    assert sensitivity([best.out, best.in_, best.spatial]) < sensitivity([plain.out, plain.in_, plain.spatial])
