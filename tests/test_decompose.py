"""Laws of the decompositions, against torch's and tensorly's as independent references."""

import itertools

import numpy as np
import pytest
import tensorly
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorly.decomposition import partial_tucker

from tdq_core.compression.decompose.cp import decompose_cp
from tdq_core.compression.decompose.linalg import leading_left, rel_error, squared_singular_values
from tdq_core.compression.decompose.svd import decompose_svd
from tdq_core.compression.decompose.tucker2 import decompose_tucker2


def kernel(o=10, i=8, h=3, w=3, seed=0):
    return torch.randn(o, i, h, w, generator=torch.Generator().manual_seed(seed))


def exact_tucker2(ranks, seed=0):
    g = torch.Generator().manual_seed(seed)
    core, out, in_ = (
        torch.randn(*ranks, 3, 3, generator=g),
        torch.randn(10, ranks[0], generator=g),
        torch.randn(8, ranks[1], generator=g),
    )
    return torch.einsum("op,pqhw,iq->oihw", out, core, in_)


def exact_cp(rank, seed=0):
    g = torch.Generator().manual_seed(seed)
    out, in_, taps = (torch.randn(n, rank, generator=g) for n in (10, 8, 9))
    return torch.einsum("or,ir,kr->oik", out, in_, taps).reshape(10, 8, 3, 3)


def test_exact_ranks_give_no_error():
    tucker, cp = exact_tucker2((4, 3)), exact_cp(4)
    assert rel_error(tucker, decompose_tucker2(tucker, 4, 3).to_weight()) < 1e-6
    assert rel_error(cp, decompose_cp(cp, 4, sweeps=2000, tol=1e-12).to_weight()) < 1e-4
    low = torch.einsum("or,rihw->oihw", torch.randn(10, 3), torch.randn(3, 8, 3, 3))
    assert rel_error(low, decompose_svd(low, 3).to_weight()) < 1e-6


def test_small_components_of_an_exact_rank_are_found_to_full_precision():
    """Components 10,000 times smaller than the largest lie below what float32 Gram matrices see."""
    g = torch.Generator().manual_seed(5)
    out, in_ = (torch.linalg.qr(torch.randn(n, 3, generator=g, dtype=torch.float64)).Q for n in (10, 8))
    core = (
        torch.randn(3, 3, 3, 3, generator=g, dtype=torch.float64) * torch.tensor([1, 1e-3, 1e-4])[:, None, None, None]
    )
    weight = torch.einsum("op,pqhw,iq->oihw", out, core.double(), in_)
    assert rel_error(weight, decompose_tucker2(weight, 3, 3).to_weight()) < 1e-9


def test_error_does_not_grow_with_rank():
    w = kernel()
    tucker = [rel_error(w, decompose_tucker2(w, r, min(r, 8)).to_weight()) for r in range(1, 11)]
    svd = [rel_error(w, decompose_svd(w, r).to_weight()) for r in range(1, 11)]
    assert all(b <= a + 1e-6 for a, b in itertools.pairwise(tucker)) and tucker[-1] < 1e-6
    assert all(b <= a + 1e-9 for a, b in itertools.pairwise(svd)) and svd[-1] < 1e-6


@settings(max_examples=25)
@given(st.integers(2, 12), st.integers(2, 12), st.sampled_from([(1, 1), (3, 3), (1, 5)]), st.integers(0, 99), st.data())
def test_als_error_never_grows_by_a_sweep_and_is_the_real_error(o, i, taps, seed, data):
    w = kernel(o, i, *taps, seed=seed)
    made = decompose_tucker2(w, data.draw(st.integers(1, o)), data.draw(st.integers(1, i)), tol=0.0)
    assert all(b**2 <= a**2 + 1e-6 for a, b in itertools.pairwise(made.errors))  # sweeps are float32
    assert made.errors[-1] == pytest.approx(rel_error(w, made.to_weight()), abs=1e-6)
    cp = decompose_cp(w, data.draw(st.integers(1, 6)), seed=seed)
    assert all(b**2 <= a**2 + 1e-9 for a, b in itertools.pairwise(cp.errors))
    assert cp.errors[-1] == pytest.approx(rel_error(w, cp.to_weight()), abs=1e-5)


def test_svd_is_the_best_approximation():
    w = kernel(12, 7)
    left, values, right = torch.linalg.svd(w.double().flatten(1), full_matrices=False)
    best = (left[:, :5] * values[:5]) @ right[:5]
    torch.testing.assert_close(decompose_svd(w, 5).to_weight().flatten(1), best)


@pytest.mark.parametrize("ranks", [(3, 2), (6, 6), (10, 2)])
def test_tucker2_is_as_good_as_tensorlys_at_equal_sweeps(ranks):
    w = kernel()
    tensor = tensorly.tensor(w.double().numpy())
    (core, factors), _ = partial_tucker(tensor, rank=list(ranks), modes=[0, 1], n_iter_max=8, tol=0, init="svd")
    theirs = np.einsum("pqhw,op,iq->oihw", core, *factors)
    ours = decompose_tucker2(w, *ranks, sweeps=8, tol=0.0)
    assert rel_error(w, ours.to_weight()) <= rel_error(w, torch.from_numpy(theirs)) + 1e-5


def test_cp_components_have_equal_norms_and_a_seed_gives_the_same_factors():
    w = kernel()
    made, again, other = (decompose_cp(w, 5, seed=s) for s in (3, 3, 4))
    norms = torch.stack([torch.linalg.vector_norm(f, dim=0) for f in (made.out, made.in_, made.spatial)])
    torch.testing.assert_close(norms, norms[:1].expand(3, -1))
    assert torch.equal(made.out, again.out) and not torch.equal(made.out, other.out)


@pytest.mark.parametrize("shape", [(6, 9), (9, 6), (5, 5)])
def test_leading_left_equals_the_svds_subspace(shape):
    matrix = torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    left, values, _ = torch.linalg.svd(matrix)
    ours = leading_left(matrix, 3)
    torch.testing.assert_close(ours @ ours.T, left[:, :3] @ left[:, :3].T)
    torch.testing.assert_close(squared_singular_values(matrix), values**2)


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e30])
def test_hostile_kernels_give_finite_factors(scale):
    w = kernel() * scale
    for made in (decompose_tucker2(w, 4, 3), decompose_cp(w, 6), decompose_svd(w, 4)):
        assert torch.isfinite(made.to_weight()).all()
        assert rel_error(w, made.to_weight()) < 1
    rank_one = torch.ones(10, 8, 3, 3)
    assert rel_error(rank_one, decompose_cp(rank_one, 20).to_weight()) < 1e-4
    assert rel_error(rank_one, decompose_tucker2(rank_one, 9, 7).to_weight()) < 1e-6


def test_a_rank_deficient_matrix_still_gives_an_orthonormal_basis():
    tall = torch.randn(9, 2, dtype=torch.float64) @ torch.randn(2, 5, dtype=torch.float64)
    basis = leading_left(tall, 4)
    torch.testing.assert_close(basis.T @ basis, torch.eye(4, dtype=torch.float64))
    torch.testing.assert_close(basis @ (basis.T @ tall), tall)


def test_more_rank_than_the_longer_side_allows_is_completed_to_a_basis():
    thin = torch.randn(9, 2, dtype=torch.float64)
    basis = leading_left(thin, 5)
    torch.testing.assert_close(basis.T @ basis, torch.eye(5, dtype=torch.float64))
