"""Error and components lowered together: the sum never rises, and what is told of it is true."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tdq_core.compression.decompose import balanced as module
from tdq_core.compression.decompose.als import Products, als
from tdq_core.compression.decompose.balanced import RENEWED, SHARE, balanced
from tdq_core.compression.decompose.components import sensitivity, spread


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def drawn(seed: int, rank: int) -> tuple[Tensor, list[Tensor]]:
    sizes = (7, 6, 5)
    return normal(*sizes, seed=seed), [normal(n, rank, seed=seed + 1 + k) for k, n in enumerate(sizes)]


def missed(tensor: Tensor, factors: list[Tensor]) -> float:
    return float((tensor - torch.einsum("ir,jr,kr->ijk", *factors)).square().sum())


@settings(max_examples=20)
@given(st.integers(0, 999), st.integers(1, 30), st.floats(0, 2))
def test_the_sum_never_rises_and_its_errors_are_real(seed: int, rank: int, lost: float) -> None:
    tensor, start = drawn(seed, rank)
    square = float(tensor.square().sum())
    mu = SHARE * math.sqrt(missed(tensor, start) * square) / sensitivity(spread(start))
    totals = []
    for sweeps in range(RENEWED):
        fit = balanced(tensor, start, lost=lost, sweeps=sweeps, tol=-1.0)
        real = math.sqrt((missed(tensor, fit.factors) + lost) / (square + lost))
        assert fit.errors[-1] == pytest.approx(real, rel=1e-6, abs=1e-6)
        totals.append(missed(tensor, fit.factors) + mu * sensitivity(fit.factors))
    assert all(b <= a * (1 + 1e-9) for a, b in itertools.pairwise(totals))


def test_it_beats_least_squares_in_error_and_components() -> None:
    tensor = normal(16, 16, 9, seed=1)
    start = [normal(n, 40, seed=n + 1) for n in tensor.shape]
    plain, both = als(tensor, start, sweeps=200, tol=0.0), balanced(tensor, start, sweeps=200, tol=0.0)
    assert both.errors[-1] < 0.95 * plain.errors[-1]
    assert sensitivity(both.factors) < 0.9 * sensitivity(spread(plain.factors))


def test_momentum_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    tensor = normal(16, 16, 9, seed=1)
    start = [normal(n, 40, seed=n + 1) for n in tensor.shape]
    pushed = balanced(tensor, start, sweeps=60, tol=0.0).errors[-1]
    monkeypatch.setattr(module, "MOMENTUM", 0.0)
    assert pushed < 0.97 * balanced(tensor, start, sweeps=60, tol=0.0).errors[-1]


def test_in_float32_the_same_error_comes_out() -> None:
    tensor, start = drawn(3, 12)
    double, single = (balanced(tensor, start, sweeps=50, tol=1e-6, single=s) for s in (False, True))
    assert all(f.dtype == torch.float64 for f in single.factors) and not torch.equal(
        single.factors[0], double.factors[0]
    )
    assert single.errors[-1] == pytest.approx(double.errors[-1], rel=1e-2)
    kept = dict(Products.of(tensor, single=True).sweep(start))
    assert all(torch.allclose(p, kept[mode], rtol=1e-4, atol=1e-4) for mode, p in Products.of(tensor).sweep(start))


def test_a_tensor_of_zeros_has_factors_of_zeros() -> None:
    fit = balanced(
        torch.zeros(4, 3, 2, dtype=torch.float64), [normal(n, 2, seed=n) for n in (4, 3, 2)], sweeps=9, tol=0
    )
    assert fit.errors == (0.0,) and not any(f.any() for f in fit.factors)


def test_it_ends_where_a_sweep_brings_nothing() -> None:
    tensor, start = drawn(5, 2)
    fit = balanced(tensor, start, sweeps=5000, tol=1e-4)
    assert fit.converged and len(fit.errors) < 500
    assert not balanced(tensor, start, sweeps=3, tol=1e-9).converged
