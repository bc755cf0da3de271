"""CP on kernels as they come: good starts, cheap sweeps, and nothing that breaks it."""

import pytest
import torch

from tdq_core.compression.decompose import cp as module
from tdq_core.compression.decompose.als import WORK, Products, affordable, als
from tdq_core.compression.decompose.components import degeneracy
from tdq_core.compression.decompose.cp import compress, cp_memory, decompose_cp, random_start
from tdq_core.compression.decompose.epc import SINGLE, _sweeps, correct_cp
from tdq_core.compression.decompose.factors import Options
from tdq_core.compression.decompose.linalg import of_components, rel_error
from tdq_core.compression.decompose.ridge import least_squares
from tdq_core.compression.methods import decompose
from tdq_core.errors import InputError, NotNow


def draw(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_products_are_those_with_the_khatri_rao_product():
    tensor, factors = draw(4, 5, 6), [draw(n, 3, seed=n) for n in (4, 5, 6)]
    for mode, product in Products.of(tensor).sweep(factors):
        one, two = (f for n, f in enumerate(factors) if n != mode)
        plain = torch.einsum("iab,ar,br->ir", tensor.movedim(mode, 0), one, two)
        torch.testing.assert_close(product, plain)
        factors[mode] = draw(*factors[mode].shape, seed=50 + mode)  # what is replaced counts at once


@pytest.mark.parametrize("rank", [1, 4, 30])
def test_the_sum_of_components_is_that_of_their_outer_products(rank):
    one, two, three = (torch.randn(n, rank, dtype=torch.float64) for n in (6, 5, 4))
    columns = zip(one.T, two.T, three.T, strict=True)
    wanted = sum(a[:, None, None] * b[None, :, None] * c[None, None] for a, b, c in columns)
    assert torch.allclose(of_components(one, two, three), wanted, rtol=1e-12, atol=1e-12)


def test_the_best_of_several_starts_goes_on():
    weight = draw(12, 10, 3, 3)
    core = compress(weight, 6).core
    first = [
        als(core, random_start(core, 6, 0, turn), sweeps=module.TRIAL_SWEEPS, tol=1e-6).errors for turn in range(3)
    ]
    made = decompose_cp(weight, 6)
    kept = compress(weight, 6)
    best = min(float(e[-1]) for e in first)
    assert made.starts == 3 and made.errors[0] <= (best**2 * (1 - kept.lost) + kept.lost) ** 0.5 * (1 + 1e-9)


def test_small_components_from_the_start_beat_least_squares():
    """Lower error than plain ALS of many sweeps, and smaller components."""
    weight = draw(16, 16, 3, 3)
    plain, turns = (decompose(weight, "cp", (33,), Options(eta=eta)) for eta in (None, 0.0))
    assert rel_error(weight, turns.to_weight()) < rel_error(weight, plain.to_weight())
    assert degeneracy(turns, weight).log10_norms < degeneracy(plain, weight).log10_norms - 0.3
    assert len(turns.errors) > 50


def test_a_large_layer_gets_as_many_sweeps_as_its_shape_allows():
    wide, narrow = (512, 512, 9), (64, 64, 9)
    cost = 2 * 512 * 512 * 9 * 1069 + 3 * 1069**2 * (1069 / 3 + 1033)
    assert affordable(wide, 1069, 200) == int(WORK / cost) > 10
    assert (affordable(wide, 5000, 200), affordable(narrow, 170, 200)) == (10, 200)
    counts = tuple(_sweeps(*at, 1.0) for at in ((wide, 5000), (wide, 1069), (narrow, 170)))
    assert counts == ((10, True), (int(SINGLE * WORK / cost), True), (200, False))


def test_the_last_correction_keeps_to_its_bound():
    weight = draw(12, 10, 3, 3)
    made = correct_cp(weight, decompose_cp(weight, 14, sweeps=20), eta=0.1)
    assert made.errors[-1] < rel_error(weight, made.to_weight()) <= 1.1 * made.errors[-1] * (1 + 1e-9)


def rank_deficient():
    return torch.einsum("or,ir,kr->oik", draw(8, 2), draw(7, 2, seed=1), draw(9, 2, seed=2)).reshape(8, 7, 3, 3)


def one_entry():
    kernel = torch.zeros(8, 7, 3, 3)
    kernel[1, 2, 0, 0] = 3.0
    return kernel


HOSTILE = {
    "rank-deficient": rank_deficient(),
    "zero": torch.zeros(8, 7, 3, 3),
    "one entry": one_entry(),
    "tiny": draw(8, 7, 3, 3) * 1e-30,
    "huge": draw(8, 7, 3, 3) * 1e30,
    "wide range": draw(8, 7, 3, 3) * torch.logspace(-15, 15, 8, dtype=torch.float64)[:, None, None, None],
    "one channel in": draw(8, 1, 3, 3),
    "one channel out": draw(1, 7, 3, 3),
    "one tap": draw(8, 7, 1, 1),
    "constant": torch.ones(8, 7, 3, 3),
}  # fmt: skip


@pytest.mark.parametrize("eta", [None, 0.05])
@pytest.mark.parametrize("rank", [1, 5, 70])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_kernels_get_an_answer_with_its_error(name, rank, eta):
    weight = HOSTILE[name]
    made = decompose(weight, "cp", (rank,), Options(eta=eta))
    assert all(f.isfinite().all() for f in (made.out, made.in_, made.spatial))
    error = rel_error(weight, made.to_weight())
    assert 0 <= error < 1, "something of the kernel is kept, whatever eta allows"
    assert error <= made.errors[-1] * (1 + (eta or 0.0)) * (1 + 1e-6) + 2e-7
    if name == "rank-deficient" and rank > 2:
        assert error < 0.06


def test_without_any_other_component_there_is_nothing_to_fit():
    assert least_squares(torch.zeros(3, 3), draw(4, 3)).abs().max() == 0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_kernel_that_is_not_finite_is_refused(value):
    weight = draw(4, 4, 3, 3)
    weight[1, 2, 0, 0] = value
    with pytest.raises(InputError, match="1 of its 144 values are NaN or infinite"):
        decompose_cp(weight, 3)


def test_the_memory_is_known_before_the_start(monkeypatch):
    assert cp_memory((512, 512, 9), 1141) < 1e9 < cp_memory((4096, 4096, 9), 8000)
    monkeypatch.setattr(module, "free_memory", lambda: 10**6)
    with pytest.raises(NotNow, match=r"64 x 64 x 9 at rank 100 needs 0\.0 GB and 0\.0 GB are free"):
        decompose_cp(draw(64, 64, 3, 3), 100)
