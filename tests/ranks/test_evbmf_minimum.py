"""EVBMF finds the least free energy of all, not the one that a search of one valley happens to meet."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cached_runs.study import dense_spec
from tdq_core.layers.table import LayerTable
from tdq_core.models.layer_files import table_path
from tdq_core.ranks.evbmf import Energy, evbmf_rank, noise_variance
from tdq_core.records.store import shipped_folder
from tdq_core.specs import RunSpec

TWO_VALLEYS = json.loads(Path(__file__).with_name("two_valleys.json").read_text())
DENSE = 100_000
"""Variances of the grid that is believed."""
SHIPPED = (RunSpec.of("digits_resnet", "digits"), dense_spec("resnet20_cifar10"))


def energy_of(spectrum, rows, columns) -> Energy:
    small, large = min(rows, columns), max(rows, columns)
    squares = np.sort(np.asarray(spectrum, dtype=float))[::-1]
    return Energy.of(squares * (small * large / squares.sum()), large)


def excess(energy: Energy, points: int) -> float:
    """How much lower than the minimum that was found the free energy is anywhere on a dense grid."""
    found = float(energy.at(np.array([noise_variance(energy)]))[0])
    return found - float(energy.at(np.geomspace(energy.lower, 1.0, points)).min())


def unfoldings(spec):
    for la in LayerTable.read(shipped_folder() / table_path(spec)).layers:
        if la.spectrum_out:
            yield la.name, la.spectrum_out, la.c_out, la.c_in * la.taps
            yield la.name, la.spectrum_in, la.c_in, la.c_out * la.taps


@pytest.mark.parametrize("spec", SHIPPED, ids=lambda s: s.model)
def test_no_point_of_a_dense_grid_lies_lower_on_real_kernels(spec):
    """Of every shape that a network has its first and its last unfolding: they are alike, and a grid takes a while."""
    of_shape = {}
    for name, spectrum, rows, columns in unfoldings(spec):
        of_shape.setdefault((rows, columns), []).append((name, spectrum))
    worse = {}
    for (rows, columns), found in of_shape.items():
        for name, spectrum in dict([found[0], found[-1]]).items():
            if (above := excess(energy_of(spectrum, rows, columns), DENSE)) > 1e-9:
                worse[name, rows, columns] = above
    assert len(of_shape) > 5 and worse == {}


@pytest.mark.parametrize("kernel", TWO_VALLEYS, ids=lambda k: k["of"])
def test_kernels_with_two_valleys_get_the_deeper_one(kernel):
    """Squared singular values of kernels that the zoo once had; `valley`: where a single bounded search ended."""
    shape = kernel["rows"], kernel["columns"]
    assert evbmf_rank(kernel["spectrum"], *shape) == kernel["rank"]
    energy = energy_of(kernel["spectrum"], *shape)
    variances = np.geomspace(energy.lower, 1.0, 20_000)
    values = energy.at(variances)
    signals = np.array([energy.signals(v) for v in variances])
    assert values[signals == kernel["rank"]].min() < values[signals == kernel["valley"]].min()


spectra = st.tuples(
    st.integers(2, 24), st.integers(0, 60), st.floats(0.1, 6), st.integers(0, 2**32 - 1), st.integers(0, 8)
)


def drawn(small: int, more: int, spread: float, seed: int, signals: int) -> tuple[np.ndarray, int, int]:
    """Squared singular values of noise, and of some components that stand out of it by little or much."""
    rng = np.random.default_rng(seed)
    squares = np.linalg.svd(rng.normal(size=(small, small + more)), compute_uv=False) ** 2
    squares[: min(signals, small)] *= np.exp(spread * rng.random(min(signals, small)))
    return squares, small, small + more


@given(spectra)
@settings(max_examples=60)
def test_no_point_of_a_dense_grid_lies_lower(chosen):
    squares, rows, columns = drawn(*chosen)
    assert excess(energy_of(squares, rows, columns), DENSE // 4) <= 1e-9


@given(spectra, st.floats(0.01, 1))
@settings(max_examples=60)
def test_the_energy_is_the_papers(chosen, variance):
    """Term by term: log and linear parts of noise, and the closed form of a component that is kept (Theorem 2)."""
    squares, rows, columns = drawn(*chosen)
    energy, told = energy_of(squares, rows, columns), 0.0
    alpha = rows / columns
    for square in energy.squares.tolist():
        x = square / (columns * variance)
        if x <= (1 + 2.5129 * math.sqrt(alpha)) * (1 + alpha / (2.5129 * math.sqrt(alpha))):
            told += x - math.log(x)
            continue
        tau = 0.5 * (x - (1 + alpha) + math.sqrt((x - (1 + alpha)) ** 2 - 4 * alpha))
        told += x - tau + math.log((tau + 1) / x) + alpha * math.log(tau / alpha + 1)
    assert float(energy.at(np.array([variance]))[0]) == pytest.approx(told, rel=1e-9, abs=1e-9)
