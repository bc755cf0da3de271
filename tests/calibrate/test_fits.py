"""Laws of calibrated decomposition: exact where an exact solution exists, never worse along the way, against plain
references (torch's own convolution, a dense normal equation, a loop)."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_layers import fit, mean_square, normal, seen
from torch import Tensor

from tdq_core.compression.calibrate import cp, spatial
from tdq_core.compression.calibrate import moments as moments_of_patches
from tdq_core.compression.calibrate.conjugate import by_both_sides, descend
from tdq_core.compression.calibrate.cp import fit_cp
from tdq_core.compression.calibrate.moments import Moments, moments
from tdq_core.compression.calibrate.spatial import fit_spatial
from tdq_core.compression.calibrate.svd import fit_svd
from tdq_core.compression.calibrate.tucker2 import fit_tucker2
from tdq_core.compression.decompose.components import sensitivity, spread
from tdq_core.compression.decompose.cp import Cp, decompose_cp
from tdq_core.compression.decompose.factors import Options
from tdq_core.compression.decompose.linalg import khatri_rao
from tdq_core.compression.decompose.svd import decompose_svd
from tdq_core.compression.decompose.tucker2 import decompose_tucker2
from tdq_core.compression.methods import decompose


def test_moments_give_the_error_a_loop_gives() -> None:
    made, weight, rows, wanted = seen(noise=0.3)
    plain = moments(rows, wanted, weight, ridge=0.0)
    other = weight + 0.1 * normal(*weight.shape, seed=9)
    assert plain.missed(other.double().flatten(1)) == pytest.approx(mean_square(rows, wanted, other), rel=1e-4)
    extra = made.inputs.diagonal().mean() - plain.inputs.diagonal().mean()
    more = float(extra) * float((other - weight).double().square().sum())
    assert made.missed(other.double().flatten(1)) == pytest.approx(mean_square(rows, wanted, other) + more, rel=1e-4)
    after = rows.double() @ other.double().flatten(1).T + plain.shift(other)
    assert torch.allclose(after.mean(0), wanted.double().mean(0), atol=1e-5)
    assert torch.allclose(plain.variance(other), (rows.double() @ other.double().flatten(1).T).var(0, correction=0),
                          rtol=1e-3)  # fmt: skip


def test_weighting_outputs_counts_their_errors_so_often() -> None:
    made, weight, *_ = seen()
    gain = torch.tensor([1.0, 2.0, 0.5, 1.0, 3.0, 1.0]).double()
    other = (weight + 0.1 * normal(*weight.shape, seed=9)).double()
    weighted = made.weighted(gain).missed((other * gain[:, None, None, None]).flatten(1))
    each = []
    for o in range(6):
        one = torch.zeros(6).double()
        one[o] = 1.0
        each.append(made.weighted(one).missed((other * one[:, None, None, None]).flatten(1)))
    assert sum(each) == pytest.approx(made.missed(other.flatten(1))) and sum(
        e * float(g) ** 2 for e, g in zip(each, gain, strict=True)
    ) == pytest.approx(weighted)


@settings(max_examples=20)
@given(st.integers(1, 6), st.integers(0, 50))
def test_the_svd_is_the_best_of_its_rank(rank: int, seed: int) -> None:
    """Against the textbook: the truncated SVD of the best weight times a square root of the covariance."""
    made, *_ = seen(seed=seed)
    fitted = fit_svd(made, rank).to_weight().flatten(1)
    values, vectors = torch.linalg.eigh(made.inputs)
    root = vectors * values.sqrt() @ vectors.T
    u, s, v = torch.linalg.svd(made.best @ root)
    reference = u[:, :rank] * s[:rank] @ v[:rank] @ torch.linalg.inv(root)
    assert made.missed(fitted) == pytest.approx(made.missed(reference), rel=1e-6)


@pytest.mark.parametrize("rank", [1, 3, 5])
def test_more_outputs_than_inputs_give_the_same_svd(rank: int) -> None:
    """By the smaller Gram matrix; beyond the rank of the inputs, by the larger one."""
    made, *_ = seen(12, 5, 1)
    fitted = fit_svd(made, rank)
    values = torch.linalg.eigvalsh(made.best @ made.cross.T)
    assert made.missed(fitted.to_weight().flatten(1)) == pytest.approx(
        made.square - float(values[-rank:].sum()), rel=1e-5
    )
    assert torch.allclose(fitted.out.T @ fitted.out, torch.eye(rank).double(), atol=1e-9)
    assert fit_svd(made, 7).out.shape == (12, 7)


@settings(max_examples=15)
@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 50))
def test_a_tucker2_sweep_never_raises_the_error(rank_out: int, rank_in: int, seed: int) -> None:
    made, *_ = seen(seed=seed)
    fitted = fit_tucker2(made, rank_out, rank_in, tol=-1.0, sweeps=5)
    assert all(b <= a + 1e-9 for a, b in itertools.pairwise(fitted.errors))
    assert made.error(fitted.to_weight()) == pytest.approx(fitted.errors[-1], abs=1e-6)
    assert torch.allclose(fitted.in_.T @ fitted.in_, torch.eye(rank_in).double(), atol=1e-9)
    assert torch.allclose(fitted.out.T @ fitted.out, torch.eye(rank_out).double(), atol=1e-9)


def test_full_ranks_are_the_best_weight() -> None:
    made, *_ = seen()
    least = made.error(made.best.view(6, 5, 3, 3))
    assert made.error(fit_tucker2(made, 6, 5).to_weight()) == pytest.approx(least, rel=1e-6)
    assert made.error(fit_svd(made, 6).to_weight()) == pytest.approx(least, rel=1e-6)


@pytest.mark.parametrize("penalty", [0.0, 0.05])
@pytest.mark.parametrize("rank", [2, 7, 20])
def test_a_cp_sweep_never_raises_what_it_minimises(rank: int, penalty: float) -> None:
    made, weight, *_ = seen()
    start = decompose_cp(weight, rank, sweeps=20)
    reach = sensitivity([start.out, start.in_, start.spatial])
    last = math.inf
    for sweeps in range(1, 6):
        fitted = fit_cp(made, start, penalty=penalty, sweeps=sweeps, tol=-1.0)
        assert made.error(fitted.to_weight()) == pytest.approx(fitted.errors[-1], abs=1e-7)
        mu = penalty * made.square / reach * _spread_gain(start)
        total = made.missed(fitted.to_weight().flatten(1)) + mu * sensitivity(_spreaded(fitted))
        assert total <= last * (1 + 1e-9)
        last = total
    assert fitted.errors[-1] < 0.9 * fitted.errors[0] or rank == 20


def fitted_cp(made: Moments, weight: Tensor, rank: int) -> tuple[Tensor, float]:
    found = fit_cp(made, decompose_cp(weight, rank, sweeps=20), penalty=0.01)
    return found.out, found.errors[-1]


def fitted_tucker2(made: Moments, weight: Tensor, rank: int) -> tuple[Tensor, float]:
    found = fit_tucker2(made, min(rank, len(weight)), 3)
    return found.in_, found.errors[-1]


def fitted_spatial(made: Moments, weight: Tensor, rank: int) -> tuple[Tensor, float]:
    found, errors = fit_spatial(made, min(rank, 7))
    return found.down, errors[-1]


FITS = {"cp": fitted_cp, "tucker2": fitted_tucker2, "spatial": fitted_spatial}
"""By method a factor, and the error at the end."""


@pytest.mark.parametrize("method", FITS)
@pytest.mark.parametrize("rank", [3, 20])
def test_wide_layers_are_fitted_in_float32_to_the_same_error(
    method: str, rank: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At ranks below and above the outputs, which are multiplied in different orders."""
    made, weight, *_ = seen()
    factor, double = FITS[method](made, weight, rank)
    monkeypatch.setattr(moments_of_patches, "WIDE", 1)
    anew = replace(made)
    other, single = FITS[method](anew, weight, rank)
    assert anew.inputs_of_steps.dtype == torch.float32
    assert other.dtype == torch.float64 and not torch.equal(other, factor)
    assert single == pytest.approx(double, rel=1e-3)


@pytest.mark.parametrize("rank", [3, 20])
def test_both_ways_through_the_inputs_are_one(rank: int) -> None:
    made, weight, *_ = seen()
    steps, start = cp._Steps(made, 0.0), decompose_cp(weight, rank, sweeps=5)
    rao, gram = khatri_rao(start.in_, start.spatial), start.out.T @ start.out
    through = steps._through(rao, start.out, gram).flatten(0, 1)
    assert torch.allclose(through, made.inputs @ rao @ gram, rtol=1e-9, atol=1e-12 * float(through.abs().max()))


@pytest.mark.parametrize("rank", [1, 3, 7])
def test_both_ways_of_spatial_are_one(rank: int) -> None:
    made, weight, *_ = seen()
    c_in, height, width = made.kernel
    across, down = normal(len(weight), rank, width).double(), normal(rank, c_in * height).double()
    by_ranks = spatial._by_ranks(made, across)(down)
    assert torch.allclose(by_ranks, spatial._by_outputs(made, across, down), rtol=1e-9, atol=1e-9)


def test_the_same_gain_gives_the_same_moments_again() -> None:
    """With what is known of them; another gain others."""
    made, weight, *_ = seen()
    gain = torch.arange(1.0, 1 + len(weight)).double()
    once = made.weighted(gain)
    assert made.weighted(gain.clone()) is once
    other = made.weighted(2 * gain)
    assert torch.equal(other.cross, 2 * once.cross) and torch.equal(other.squares, 4 * once.squares)


def test_a_layer_that_costs_more_gets_fewer_sweeps_but_a_few(monkeypatch: pytest.MonkeyPatch) -> None:
    made, weight, *_ = seen()
    start = decompose_cp(weight, 5, sweeps=5)
    one = cp._Steps(made, 0.0).work(*start.out.shape)
    for work, wanted in ((0.0, cp.FEWEST), (5.5 * one, 5), (100 * one, cp.SWEEPS)):
        monkeypatch.setattr(cp, "WORK", work)
        assert len(fit_cp(made, start, tol=-1.0).errors) == wanted + 1


def _spreaded(made: object) -> list[Tensor]:
    return spread([made.out, made.in_, made.spatial])  # type: ignore[attr-defined]


def _spread_gain(start: object) -> float:
    """The penalty counts from the sensitivity of the start with its components spread evenly."""
    return sensitivity([start.out, start.in_, start.spatial]) / sensitivity(_spreaded(start))  # type: ignore[attr-defined]


def test_the_penalty_keeps_components_small() -> None:
    made, weight, *_ = seen(8, 8, 3)
    start = decompose_cp(weight, 20, sweeps=50)
    free, kept = (fit_cp(made, start, penalty=p, sweeps=40, tol=0.0) for p in (0.0, 0.3))
    assert sensitivity(_spreaded(kept)) < 0.8 * sensitivity(_spreaded(free))
    assert kept.errors[-1] >= free.errors[-1] * 0.999


def test_conjugate_gradients_reach_the_solution_and_never_climb() -> None:
    a, b = normal(6, 9).double(), normal(5, 8, seed=1).double()
    left, right = a @ a.T + 0.1 * torch.eye(6), b @ b.T + 0.1 * torch.eye(5)
    wanted = normal(6, 5, seed=2).double()

    def apply(x: Tensor) -> Tensor:
        return left @ x @ right + 0.3 * x

    def value(x: Tensor) -> float:
        return float((x * apply(x)).sum() / 2 - (x * wanted).sum())

    alone = descend(apply, wanted, torch.ones(6, 5).double(), lambda x: x, steps=60, tol=0.0)
    exact = torch.linalg.solve(torch.kron(left, right) + 0.3 * torch.eye(30), wanted.flatten()).view(6, 5)
    found = [descend(apply, wanted, torch.ones(6, 5).double(), by_both_sides(left, right), steps=n) for n in range(20)]
    assert torch.allclose(found[-1], exact, atol=1e-6) and torch.allclose(alone, exact, atol=1e-5)
    assert all(value(y) <= value(x) + 1e-12 for x, y in itertools.pairwise(found))


@pytest.mark.parametrize(("method", "ranks"), [("tucker2", (3, 2)), ("svd", (2,)), ("cp", (5,))])
def test_fitted_to_outputs_beats_fitted_to_weights_in_outputs(method: str, ranks: tuple[int, ...]) -> None:
    made, weight, *_ = seen()
    gain = torch.tensor([1.0, 2.0, 0.5, 1.0, 3.0, 1.0]).double()
    found = fit(made, weight, method, ranks, gain=gain, options=Options())
    factors, told = found.factors, found.details[0]
    by_weights = {"tucker2": lambda: decompose_tucker2(weight, *ranks), "svd": lambda: decompose_svd(weight, *ranks),
                  "cp": lambda: decompose_cp(weight, *ranks)}[method]().to_weight()  # fmt: skip
    weighted = made.weighted(gain)

    def error(w: Tensor) -> float:
        return weighted.error(w * gain[:, None, None, None])

    assert error(factors.to_weight()) < 0.9 * error(by_weights)
    assert told.output_error == pytest.approx(error(factors.to_weight()), abs=1e-6)
    if method == "cp":
        assert told.output_error_start == pytest.approx(error(by_weights), abs=1e-6)


def test_epc_bounds_a_calibrated_cp() -> None:
    made, weight, *_ = seen(8, 8, 3)
    gain = torch.ones(8).double()
    free, kept = (fit(made, weight, "cp", (16,), gain=gain, options=Options(eta=eta)) for eta in (None, 0.0))
    assert kept.more[0].sensitivity < free.more[0].sensitivity
    start = decompose(weight, "cp", (16,), Options(eta=0.0))
    assert isinstance(start, Cp) and start.epc_sweeps > 0
    unbounded = fit_cp(made, start)
    assert sensitivity(_spreaded(kept.factors)) < 0.99 * sensitivity(_spreaded(unbounded))


def test_the_output_factor_is_the_best_there_is() -> None:
    """No direction lowers error plus penalty: so the ridge is the penalty's own gradient."""
    made, weight, *_ = seen()
    start = decompose_cp(weight, 7, sweeps=5)
    steps = cp._Steps(made, 0.02)
    in_, spatial = start.in_, start.spatial
    out = steps._out(in_, spatial)
    for seed in range(5):
        turn = normal(*out.shape, seed=seed).double()
        up, down = (steps.measured([out + h * turn, in_, spatial])[1] for h in (1e-3, -1e-3))
        assert abs(up - down) < 1e-4 * (up + down - 2 * steps.measured([out, in_, spatial])[1]) + 1e-9


def test_sweeps_of_tucker2_lower_the_error_and_come_to_rest() -> None:
    made, *_ = seen(8, 8, 3)
    fitted = fit_tucker2(made, 4, 3, sweeps=60, tol=1e-9)
    assert fitted.errors[-1] < 0.99 * fitted.errors[0]
    core, in_ = fitted.core.flatten(2), fitted.in_
    for seed in range(5):
        turn = normal(*in_.shape, seed=seed).double()
        errors = [made.missed(torch.einsum("op,pqk,iq->oik", fitted.out, core, in_ + h * turn).flatten(1))
                  for h in (1e-2, 0.0, -1e-2)]  # fmt: skip
        assert errors[1] <= min(errors) and abs(errors[0] - errors[2]) < 0.2 * (errors[0] + errors[2] - 2 * errors[1])
