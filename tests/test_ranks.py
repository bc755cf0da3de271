"""Laws of planning: ranks, ratios, energies, EVBMF."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tdq_core.errors import InputError, Refused
from tdq_core.layers.table import Layer, LayerTable
from tdq_core.ranks.costs import cost, ladder, max_ranks
from tdq_core.ranks.evbmf import evbmf_rank
from tdq_core.ranks.modes import energy_rank
from tdq_core.ranks.plan import make_plan
from tdq_core.specs import RankRule


def layer(name="a", o=16, i=8, k=3, positions=36, end="", spectra=None):
    def flat(n):
        return tuple([1.0] * n)

    out, in_ = spectra or (flat(min(o, i * k * k)), flat(min(i, o * k * k)))
    return Layer(name, "conv", o, i, (k, k), positions, positions, False, end=end, spectrum_out=out, spectrum_in=in_)


def table(*layers, other=100):
    return LayerTable("net", "", sum(la.params for la in layers) + other, sum(la.macs for la in layers), layers)


def net():
    return table(
        layer("a", 16, 3, end="first"),
        layer("b", 32, 16),
        layer("c", 32, 32),
        layer("d", 64, 32, 1),
        layer("e", 64, 64),
    )


@settings(max_examples=60)
@given(st.floats(1.05, 8), st.sampled_from(["tucker2", "cp", "svd", "auto"]), st.booleans())
def test_the_ratio_is_reached_and_nothing_is_given_away(ratio, method, keep_ends):
    try:
        plan = make_plan(net(), method, RankRule("ratio", ratio, keep_ends=keep_ends))
    except Refused:
        assume(False)
    assert plan.compression_ratio >= ratio
    left = int(net().params / ratio) - plan.params
    for part in plan.decomposed():
        rungs = ladder(part.layer, part.method)
        at = [ranks for ranks, _ in rungs].index(part.ranks)
        if at + 1 < len(rungs):
            assert rungs[at + 1][1].params - rungs[at][1].params > left, "no rank could have been larger"


def test_a_higher_ratio_never_keeps_more():
    plans = [make_plan(net(), "tucker2", RankRule("ratio", r)) for r in np.linspace(1.1, 3.5, 30)]
    assert all(b.params <= a.params for a, b in itertools.pairwise(plans))


@settings(max_examples=60)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3]), st.sampled_from(["tucker2", "cp", "svd"]))
def test_ladders_climb_within_bounds_and_always_save(o, i, k, method):
    la = layer(o=o, i=i, k=k)
    rungs = ladder(la, method)
    prices = [price.params for _, price in rungs]
    assert prices == sorted(set(prices)) and all(p < la.params for p in prices)
    assert all(1 <= r <= top for ranks, _ in rungs for r, top in zip(ranks, max_ranks(la, method), strict=True))
    assert [cost(la, method, ranks) for ranks, _ in rungs] == [price for _, price in rungs]


def test_a_ratio_out_of_reach_names_what_can_be_reached():
    with pytest.raises(Refused, match=r"ratio 50 is out of reach for 'net'.*gives (\d+\.?\d*)") as caught:
        make_plan(net(), "svd", RankRule("ratio", 50))
    reachable = float(str(caught.value).split("gives ")[1].split()[0].rstrip("."))
    assert make_plan(net(), "svd", RankRule("ratio", reachable * 0.99)).compression_ratio >= reachable * 0.99


@pytest.mark.parametrize("keep_ends", [True, False])
def test_the_way_out_of_a_ratio_is_one_that_is_left(keep_ends):
    with pytest.raises(Refused) as caught:
        make_plan(net(), "svd", RankRule("ratio", 50, keep_ends=keep_ends))
    assert ("decompose the ends too" in str(caught.value)) == keep_ends


def test_ends_stay_dense_unless_asked():
    kept = make_plan(net(), "svd", RankRule("ratio", 2))
    assert "first convolution" in (kept.layers[0].skipped_because or "")
    assert make_plan(net(), "svd", RankRule("ratio", 2, keep_ends=False)).layers[0].method == "svd"


def test_energy_rank_by_its_definition():
    spectrum = (4.0, 3.0, 2.0, 1.0)
    assert [energy_rank(spectrum, e) for e in (0.1, 0.4, 0.41, 0.7, 0.9, 1.0)] == [1, 1, 2, 2, 3, 4]
    assert energy_rank((0.0, 0.0), 0.9) == 0


def test_energy_takes_each_modes_own_spectrum():
    la = layer("b", 4, 3, spectra=((8.0, 1.0, 0.5, 0.5), (5.0, 4.0, 1.0)))
    plan = make_plan(table(la), "tucker2", RankRule("energy", 0.8))
    assert plan.layers[0].ranks == (1, 2)
    assert make_plan(table(la), "cp", RankRule("energy", 0.8)).layers[0].ranks == (2,)


def low_rank_plus_noise(rank, shape, noise, seed):
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(shape[0], rank)) @ rng.normal(size=(rank, shape[1])) + noise * rng.normal(size=shape)
    return np.linalg.svd(matrix, compute_uv=False) ** 2


@pytest.mark.parametrize("shape", [(64, 576), (128, 128), (300, 40)])
@pytest.mark.parametrize("rank", [0, 1, 7, 20])
def test_evbmf_finds_the_true_rank(shape, rank):
    for seed in range(3):
        assert evbmf_rank(low_rank_plus_noise(rank, shape, 0.5, seed), *shape) == rank


def test_evbmf_does_not_depend_on_scale_or_orientation():
    spectrum = low_rank_plus_noise(9, (48, 300), 1.0, 5)
    ranks = {evbmf_rank(spectrum * scale, *shape) for scale in (1e-12, 1, 1e12) for shape in ((48, 300), (300, 48))}
    assert ranks == {9}
    assert evbmf_rank(np.zeros(4), 4, 9) == 0
    with pytest.raises(ValueError, match="48 squared singular values"):
        evbmf_rank(spectrum[:-1], 48, 300)


def test_evbmf_threshold_is_the_published_one():
    """A square matrix: a component counts when s^2 > L sigma^2 (1 + 2.5129) (1 + 1 / 2.5129) = 4.911 L sigma^2."""
    size = 400
    noise = np.linalg.svd(np.random.default_rng(0).normal(size=(size, size)), compute_uv=False) ** 2
    for strength, rank in ((4.75, 0), (5.08, 1)):
        assert evbmf_rank([strength * size, *noise[1:]], size, size) == rank


def test_one_component_is_no_signal_for_a_layer():
    one = tuple(low_rank_plus_noise(1, (16, 72), 0.1, 1)), tuple(low_rank_plus_noise(1, (8, 144), 0.1, 2))
    other = tuple(low_rank_plus_noise(4, (16, 72), 0.1, 1)), tuple(low_rank_plus_noise(3, (8, 144), 0.1, 2))
    plan = make_plan(table(layer("n", spectra=one), layer("s", spectra=other)), "tucker2", RankRule("vbmf", 1.0))
    assert "no signal found: rank 1" in (plan.layers[0].skipped_because or "")


def test_no_signal_is_reported_and_not_used():
    noise = tuple(low_rank_plus_noise(0, (16, 72), 1.0, 1)), tuple(low_rank_plus_noise(0, (8, 144), 1.0, 2))
    signal = tuple(low_rank_plus_noise(4, (16, 72), 0.1, 1)), tuple(low_rank_plus_noise(3, (8, 144), 0.1, 2))
    plan = make_plan(table(layer("n", spectra=noise), layer("s", spectra=signal)), "tucker2", RankRule("vbmf", 1.0))
    assert "no signal found" in (plan.layers[0].skipped_because or "") and plan.layers[0].method == "none"
    assert plan.layers[1].ranks == (4, 3)
    weak = make_plan(table(layer("s", spectra=signal)), "tucker2", RankRule("vbmf", 0.9))
    assert weak.layers[0].ranks == (int(16 - 0.9 * 12), int(8 - 0.9 * 5))


def test_ranks_by_hand():
    plan = make_plan(net(), "auto", RankRule("manual", ranks={"b": [8, 5], "c": 4, "d": 6, "e": None}))
    assert [p.ranks for p in plan.layers] == [(), (8, 5), (4, 4), (6,), ()]
    assert [p.method for p in plan.layers] == ["none", "tucker2", "tucker2", "svd", "none"]
    assert plan.layers[4].skipped_because == "left alone by hand"


@pytest.mark.parametrize(
    ("ranks", "words"),
    [
        ({"x": 3}, "'x' that 'net' does not have"),
        ({"b": 17}, r"layer 'b' must be \[rank_out, rank_in\] in \[1, 32\] and \[1, 16\]. Got \[17, 17\]. It saves"),
        ({"d": 33}, r"svd rank of layer 'd' must be an int in \[1, 32\]. Got 33. It saves params up to 21"),
        ({"b": [1, 2, 3]}, "Got"),
    ],
)
def test_a_wrong_rank_by_hand_is_one_sentence_with_the_way_out(ranks, words):
    with pytest.raises(InputError, match=words):
        make_plan(net(), "auto", RankRule("manual", ranks=ranks))


@pytest.mark.parametrize("bad", [0, -1, True, 2.5, "4", []])
def test_a_rank_is_a_positive_int(bad):
    with pytest.raises(InputError, match="'rank' of layer 'b' must be an int of at least 1"):
        RankRule("manual", ranks={"b": bad})


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("ratio", 1.0),
        ("ratio", 0.5),
        ("ratio", float("nan")),
        ("energy", 0),
        ("energy", 1.1),
        ("vbmf", 0),
        ("ratio", None),
        ("size", 2),
    ],
)
def test_a_rule_checks_its_value(kind, value):
    with pytest.raises(InputError, match="Got"):
        RankRule(kind, value)


def test_nothing_decomposed_is_refused_with_the_reasons():
    with pytest.raises(Refused, match=r"No layer of 'net' is decomposed by tucker2.*svd or auto"):
        make_plan(table(layer("d", 64, 32, 1)), "tucker2", RankRule("ratio", 1.5))


def test_planning_needs_no_torch():
    modules = "tdq_core.ranks.plan, tdq_core.records.table, tdq_core.records.store, tdq_core.analysis.additivity"
    code = f"import sys, {modules}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
