"""Laws of the error-preserving correction, against a general optimiser and against simulation."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from tdq_core.compression.decompose import ridge
from tdq_core.compression.decompose.components import Degeneracy, degeneracy, sensitivity, sum_of_squared_norms
from tdq_core.compression.decompose.cp import decompose_cp
from tdq_core.compression.decompose.epc import correct, correct_cp
from tdq_core.compression.decompose.linalg import rel_error
from tdq_core.compression.decompose.ridge import smallest_within
from tdq_core.errors import InputError
from tdq_core.specs import RankRule, RunSpec


def draw(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def multiplied(factors):
    return torch.einsum("ir,jr,kr->ijk", *factors)


def degenerate(gap=0.02):
    """A rank-3 tensor that two nearly opposite, huge components make: the textbook case of cancelling."""
    a, b, c, d = (draw(n, 2, seed=s) for n, s in ((6, 1), (5, 2), (4, 3), (6, 4)))
    near = [f + gap * draw(*f.shape, seed=9) for f in (a, b, c)]
    factors = [torch.cat([x / gap, -y / gap, z], dim=1) for x, y, z in zip((a,), (near[0],), (d,), strict=True)]
    return factors + [torch.cat([x, y, x], dim=1) for x, y in ((b, near[1]), (c, near[2]))]


@pytest.mark.parametrize("objective", ["norms", "sensitivity"])
@pytest.mark.parametrize("eta", [0.0, 0.01, 0.1])
def test_components_shrink_and_the_bound_holds(objective, eta):
    factors = degenerate()
    tensor = multiplied(factors) + 0.05 * draw(6, 5, 4, seed=7)
    bound = (1 + eta) * float(torch.linalg.vector_norm(tensor - multiplied(factors)))
    done = correct(tensor, factors, bound, objective=objective)
    measure = {"norms": sum_of_squared_norms, "sensitivity": sensitivity}[objective]
    assert float(torch.linalg.vector_norm(tensor - multiplied(done.factors))) <= bound * (1 + 1e-9)
    assert all(b <= a * (1 + 1e-9) for a, b in itertools.pairwise(done.history))
    assert done.history[-1] == pytest.approx(measure(done.factors)) and done.history[-1] < 0.5 * measure(factors)


@settings(max_examples=20)
@given(st.integers(0, 999), st.integers(1, 4), st.floats(1.01, 3), st.sampled_from([0.0, 1e-9, 1.0, 1e6]))
def test_a_factor_update_is_the_smallest_that_keeps_the_bound(seed, rank, room, start):
    """Against scipy's general optimiser (SLSQP) on the same problem."""
    design, target = draw(9, rank, seed=seed), draw(2, 9, seed=seed + 1)
    gram, product, square = design.T @ design, target @ design, float(target.square().sum())
    least = target - (product @ torch.linalg.inv(gram)) @ design.T
    bound = room * float(torch.linalg.vector_norm(least))
    found = smallest_within(gram, product, square, bound, start)
    assert found is not None
    ours = found[0]
    if bound**2 >= square:
        assert float(ours.abs().max()) == 0
        return
    error = float(torch.linalg.vector_norm(target - ours @ design.T))
    assert bound * (1 - 1e-3) <= error <= bound * (1 + 1e-9)
    d, t = design.numpy(), target.numpy()
    smallest = minimize(
        lambda u: (u**2).sum(), (product @ torch.linalg.inv(gram)).numpy().ravel(), jac=lambda u: 2 * u,
        constraints={"type": "ineq", "fun": lambda u: error**2 - ((t - u.reshape(2, rank) @ d.T) ** 2).sum()},
        options={"maxiter": 500, "ftol": 1e-14},
    )  # fmt: skip
    assert float(ours.square().sum()) <= smallest.fun * (1 + 1e-4) + 1e-9


def test_a_ridge_is_found_by_few_factorizations(monkeypatch):
    solves, real = [], ridge._solve
    monkeypatch.setattr(ridge, "_solve", lambda *given: solves.append(given[2]) or real(*given))
    design, target = draw(200, 30), draw(20, 200, seed=1)
    gram, product, square = design.T @ design, target @ design, float(target.square().sum())
    least = float(torch.linalg.vector_norm(target - (product @ torch.linalg.inv(gram)) @ design.T))
    found = smallest_within(gram, product, square, 1.02 * least)
    assert found is not None and len(solves) <= 5
    solves.clear()
    assert smallest_within(gram, product, square, 1.03 * least, found[1]) is not None
    assert solves[0] == found[1] and len(solves) <= 3


def test_no_room_leaves_a_factor_alone_and_all_room_gives_zero():
    design, target = draw(9, 2), draw(2, 9, seed=1)
    gram, product, square = design.T @ design, target @ design, float(target.square().sum())
    assert smallest_within(gram, product, square, 0.0) is None
    assert float(smallest_within(gram, product, square, 2 * square**0.5)[0].abs().max()) == 0


def test_sensitivity_is_what_noise_does():
    factors = [draw(6, 3, seed=1), draw(5, 3, seed=2), draw(4, 3, seed=3)]
    tensor, step, rng = multiplied(factors), 1e-4, torch.Generator().manual_seed(0)
    changes = []
    for _ in range(4000):
        noisy = [f + step * torch.randn(f.shape, dtype=f.dtype, generator=rng) for f in factors]
        changes.append(float((multiplied(noisy) - tensor).square().sum()) / step**2)
    assert np.mean(changes) == pytest.approx(sensitivity(factors), rel=0.05)


def test_a_corrected_kernel_is_a_cp_like_any_other_with_less_to_cancel():
    weight = (draw(12, 10, 3, 3) + 2).float()
    plain = decompose_cp(weight, 14)
    done = correct_cp(weight, plain, eta=0.02)
    assert rel_error(weight, done.to_weight()) <= 1.02 * rel_error(weight, plain.to_weight()) * (1 + 1e-6)
    assert degeneracy(done, weight).log10_norms < degeneracy(plain, weight).log10_norms - 0.1
    assert degeneracy(done, weight).sensitivity < degeneracy(plain, weight).sensitivity
    assert done.epc_sweeps > 0 and plain.epc_sweeps == 0


def test_a_zero_kernel_has_nothing_to_correct():
    zero = torch.zeros(6, 5, 3, 3)
    assert torch.equal(correct_cp(zero, decompose_cp(zero, 4), eta=0.05).to_weight(), zero.double())


def test_degeneracy_of_orthogonal_components_is_nil():
    basis = [torch.linalg.qr(draw(n, n, seed=n)).Q[:, :3] for n in (6, 5)]
    weight = torch.einsum("or,ir,kr->oik", *basis, draw(4, 3)).reshape(6, 5, 2, 2)
    found = degeneracy(decompose_cp(weight, 3, tol=1e-12), weight)
    assert found.log10_norms == pytest.approx(0, abs=1e-6)
    zero = degeneracy(decompose_cp(weight * 0, 3), weight * 0)
    assert zero == Degeneracy()


@pytest.mark.parametrize("scale", [1e-20, 1e20])
def test_the_correction_does_not_depend_on_the_weights_scale(scale):
    weight = draw(8, 7, 3, 3)
    one, other = (correct_cp(w, decompose_cp(w, 9), eta=0.05) for w in (weight, weight * scale))
    assert rel_error(weight * scale, other.to_weight()) == pytest.approx(rel_error(weight, one.to_weight()), rel=1e-3)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"method": "tucker2", "epc": True}, "only CP has such components"),
        ({"method": "cp", "epc": True, "eta": 1.0}, r"in \[0, 1\)"),
        ({"method": "cp", "epc": True, "eta": -0.1}, "Got -0.1"),
        ({"method": "cp", "eta": 0.2}, "belongs to the correction 'epc'"),
    ],
)
def test_the_correction_is_asked_for_rightly(fields, words):
    with pytest.raises(InputError, match=words):
        RunSpec.of("net", "digits", rule=RankRule("ratio", 2), **fields)
