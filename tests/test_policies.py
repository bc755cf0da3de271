"""Laws of the policies that share a ratio out over the layers."""

import contextlib
import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec import structs

from tdq_core.errors import InputError, Refused
from tdq_core.layers.table import Change, Layer, LayerTable
from tdq_core.ranks.allocate import front, tails
from tdq_core.ranks.budget import Budget
from tdq_core.ranks.costs import cost, max_ranks, refusal
from tdq_core.ranks.modes import energy_rank, evbmf_modes, weakened
from tdq_core.ranks.plan import make_plan, needs_spectra
from tdq_core.ranks.ratio import offered
from tdq_core.specs.rank_rule import POLICIES, RankRule

BUDGETS = ("params", "macs")
"""Those that any table knows; bytes have tests of their own."""


def layer(name, o, i, k=3, *, stride=1, decay=0.9, end="", seed=0):
    rng = np.random.default_rng(seed)

    def spectrum(n):
        values = decay ** np.arange(n) * rng.uniform(0.5, 1.5, n) + 1e-3
        return tuple(sorted(values.tolist(), reverse=True))

    weight = rng.uniform(0.2, 5)
    forms = {"tucker2": (1e-3, 2.0), "svd": (1e-3, 1.0), "cp": (1.0, 1e4)}
    changes = [Change(form, ends, (weight * ends[0], weight * ends[1]), 0.0) for form, ends in forms.items()]
    return Layer(name, "conv", o, i, (k, k), 64 * stride**2, 64, False, end=end,
                 spectrum_out=spectrum(min(o, i * k * k)), spectrum_in=spectrum(min(i, o * k * k)),
                 changes=(Change("none", (), (), 0.0), *changes))  # fmt: skip


def table(*layers, other=100):
    macs = sum(la.macs for la in layers) + 500
    return LayerTable("net", "", sum(la.params for la in layers) + other, macs, layers)


def net(decay=0.9):
    return table(
        layer("a", 16, 3, end="first", seed=1),
        layer("b", 32, 16, decay=decay, seed=2),
        layer("c", 32, 32, decay=decay**2, seed=3),
        layer("d", 64, 32, 1, stride=2, decay=decay, seed=4),
        layer("e", 64, 64, decay=decay**3, stride=2, seed=5),
    )


def deep(layers=8):
    return table(*(layer(f"l{n}", 32, 32, seed=n) for n in range(layers)))


def reached(whole, plan, budget):
    return getattr(whole, budget) / getattr(plan, budget)


@settings(max_examples=150)
@given(
    st.floats(1.05, 8),
    st.sampled_from(["tucker2", "cp", "svd", "auto"]),
    st.sampled_from([*POLICIES]),
    st.sampled_from([*BUDGETS]),
    st.sampled_from([1, 4, 8]),
    st.floats(0.5, 0.95),
)
def test_every_policy_reaches_the_ratio_in_multiples(ratio, method, policy, budget, multiple, decay):
    assume((method, policy) != ("cp", "global"))
    try:
        rule = RankRule("ratio", ratio, policy=policy, budget=budget, multiple=multiple)
        plan = make_plan(net(decay), method, rule)
    except Refused:
        assume(False)
    assert reached(net(decay), plan, budget) >= ratio
    for part in plan.decomposed():
        assert not any(r % multiple for r in part.ranks)
        assert all(1 <= r <= top for r, top in zip(part.ranks, max_ranks(part.layer, part.method), strict=True))
        assert Budget(net(decay), rule).saves(part.layer, part.method, part.ranks)
    assert all(p.skipped_because for p in plan.layers if p.method == "none")


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("policy", ["uniform", "later", "energy", "global", "predicted"])
def test_what_the_budget_counts_is_nearly_used_up(policy, budget):
    rule = RankRule("ratio", 2.0, policy=policy, budget=budget)
    assert reached(net(), make_plan(net(), "tucker2", rule), budget) < 2.2


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("policy", POLICIES)
def test_a_ratio_out_of_reach_names_what_can_be_reached(policy, budget):
    rule = RankRule("ratio", 500, policy=policy, budget=budget)
    counted = " of MACs" if budget == "macs" else ""
    with pytest.raises(Refused, match=f"The ratio 500{counted} is out of reach for 'net'.*gives? ") as caught:
        make_plan(net(), "tucker2", rule)
    reach = float(str(caught.value).split("gives " if "gives " in str(caught.value) else "give ")[1].split()[0][:-1])
    within = structs.replace(rule, value=reach * 0.99)
    assert reached(net(), make_plan(net(), "tucker2", within), budget) >= reach * 0.99


@pytest.mark.parametrize("policy", POLICIES)
def test_too_small_for_a_multiple_is_left_alone_with_the_reason(policy):
    plan = make_plan(net(), "tucker2", RankRule("ratio", 1.05, keep_ends=False, multiple=4, policy=policy))
    assert plan.layers[0].skipped_because == "no rank that is a multiple of 4 saves params: it is too small"


def test_a_rank_is_offered_only_where_it_is_a_multiple_itself():
    whole = make_plan(table(layer("x", 12, 12)), "svd", RankRule("ratio", 1.1, multiple=4))
    assert whole.layers[0].ranks == (8,), "12 is the full rank, and saves nothing"
    uneven = table(layer("x", 12, 9), layer("y", 32, 32))  # no rung of 12 and 9 is a pair of multiples
    for policy, ratio, ranks in (("uniform", 5, ()), ("later", 5, ()), ("global", 13, (4, 4))):
        rule = RankRule("ratio", ratio, multiple=4, policy=policy)
        assert make_plan(uneven, "tucker2", rule).layers[0].ranks == ranks


def test_a_layer_of_which_macs_cannot_be_saved_is_left_alone_under_macs():
    strided = layer("s", 32, 32, stride=12)
    plan = make_plan(table(strided, layer("b", 32, 16)), "tucker2", RankRule("ratio", 1.2, budget="macs"))
    tops = [ranks for ranks, _ in offered(strided, "tucker2", Budget(table(strided), RankRule("ratio", 1.2)))]
    assert cost(strided, "tucker2", tops[-1]).macs > strided.macs
    assert all(p.cost.macs <= p.layer.macs for p in plan.layers)
    rule = RankRule("ratio", 1.2, budget="macs", policy="global")
    found = front(strided, "tucker2", Budget(table(strided), rule))
    assert found.prices[-1] == strided.macs and np.all(np.diff(found.prices) > 0)


UNIFORM = {
    ("tucker2", 1.5): [(), (22, 11), (22, 22), (), (45, 45)],
    ("tucker2", 3.0): [(), (14, 7), (15, 15), (), (28, 28)],
    ("cp", 1.5): [(), (52,), (82,), (), (175,)],
    ("cp", 3.0): [(), (24,), (39,), (), (80,)],
    ("svd", 1.5): [(), (18,), (19,), (14,), (38,)],
    ("svd", 3.0): [(), (8,), (9,), (8,), (19,)],
    ("auto", 1.5): [(), (23, 12), (23, 23), (14,), (45, 45)],
    ("auto", 3.0): [(), (14, 7), (15, 15), (8,), (30, 30)],
}


@pytest.mark.parametrize(("method", "ratio"), UNIFORM)
def test_the_same_share_for_all_gives_the_ranks_it_always_gave(method, ratio):
    assert [p.ranks for p in make_plan(net(), method, RankRule("ratio", ratio)).layers] == UNIFORM[method, ratio]


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("depth", [0.5, 1.0, 2.0, 6.0])
@pytest.mark.parametrize("ratio", [1.3, 2.0, 3.5])
def test_later_layers_give_up_more(ratio, depth, budget):
    plan = make_plan(deep(), "tucker2", RankRule("ratio", ratio, policy="later", depth=depth, budget=budget))
    kept = [p.cost.params for p in plan.layers]
    own = Budget(deep(), RankRule("ratio", ratio))
    rungs = [price for _, price in offered(deep().layers[0], "tucker2", own)]
    step = max(b - a for a, b in itertools.pairwise([*rungs, deep().layers[0].params]))
    assert all(late <= early + step for early, late in itertools.combinations(kept, 2))
    assert kept[-1] < kept[0] - 2 * step


def test_a_layer_that_keeps_nearly_all_stays_dense():
    plan = make_plan(deep(), "tucker2", RankRule("ratio", 1.5, policy="later", depth=8))
    assert plan.layers[0].method == "none" and "it comes early" in plan.layers[0].skipped_because
    assert plan.layers[-1].method == "tucker2"


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("method", ["tucker2", "cp", "auto"])
@pytest.mark.parametrize("ratio", [1.5, 2.0, 3.0])
def test_depth_0_is_the_same_share_for_all(ratio, method, budget):
    same = RankRule("ratio", ratio, budget=budget)
    later = RankRule("ratio", ratio, budget=budget, policy="later", depth=0)
    assert make_plan(net(), method, later) == make_plan(net(), method, same)


@pytest.mark.parametrize("method", ["tucker2", "cp"])
def test_energy_is_one_share_for_all_layers_and_the_largest_that_fits(method):
    plan = make_plan(net(), method, RankRule("ratio", 2.0, policy="energy"))
    fitting = []
    for energy in 1 - np.geomspace(0.7, 1e-5, 800):
        with contextlib.suppress(Refused):  # it keeps so much that no layer is decomposed
            one = make_plan(net(), method, RankRule("energy", energy))
            fitting += [one] * (one.compression_ratio >= 2)
    assert plan.params >= max(one.params for one in fitting)
    assert [p.ranks for p in plan.layers] == [p.ranks for p in max(fitting, key=lambda one: one.params).layers]


def test_vbmf_is_weakened_by_one_factor_and_says_how_far_it_reaches():
    whole = net(0.5)
    strongest = make_plan(whole, "tucker2", RankRule("vbmf", 1.0)).compression_ratio
    ratio = 1 + (strongest - 1) / 3
    plan = make_plan(whole, "tucker2", RankRule("ratio", ratio, policy="vbmf"))
    factors = np.linspace(1, 0.01, 1000)
    assert any(make_plan(whole, "tucker2", RankRule("vbmf", f)).layers == plan.layers for f in factors)
    with pytest.raises(Refused, match=f"the EVBMF ranks, not weakened, give {strongest:.3g}. Ask for less, share it"):
        make_plan(whole, "tucker2", RankRule("ratio", strongest * 1.1, policy="vbmf"))
    assert weakened(whole.layers[2], evbmf_modes(whole.layers[2]), 1.0) == evbmf_modes(whole.layers[2])


def error(plan):
    """The predicted relative squared errors of the layers, by their definition, added up."""
    total = 0.0
    for part in plan.decomposed():
        spectra = (part.layer.spectrum_out, part.layer.spectrum_in)
        total += sum(sum(s[r:]) / sum(s) for s, r in zip(spectra[: len(part.ranks)], part.ranks, strict=True))
    return total


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("method", ["tucker2", "svd", "auto"])
@pytest.mark.parametrize("ratio", [1.15, 1.5, 2.0, 2.6])
@pytest.mark.parametrize("decay", [0.7, 0.9, 0.97])
def test_global_predicts_no_more_error_than_any_other_policy(ratio, method, budget, decay):
    best = error(make_plan(net(decay), method, RankRule("ratio", ratio, budget=budget, policy="global")))
    for policy in ("uniform", "later", "energy"):
        with contextlib.suppress(Refused):  # the ranks of one energy may be too dear for svd
            other = make_plan(net(decay), method, RankRule("ratio", ratio, budget=budget, policy=policy))
            assert best <= error(other) + 1e-12


def grid(la, method, budget):
    """(cost, error) of every pair of ranks that saves, and of the dense layer, one by one."""
    spectra = (la.spectrum_out, la.spectrum_in)
    found = [(getattr(la, budget), 0.0)]
    for ranks in itertools.product(*(range(1, top + 1) for top in max_ranks(la, method))):
        price = cost(la, method, ranks)
        if price.params < la.params and (budget == "params" or price.macs < la.macs):
            lost = sum(sum(s[r:]) / sum(s) for s, r in zip(spectra[: len(ranks)], ranks, strict=True))
            found.append((getattr(price, budget), lost))
    return np.array(found)


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize(("method", "kernel"), [("tucker2", 3), ("svd", 1), ("auto", 3)])
def test_global_is_the_best_there_is_wherever_a_price_of_error_makes_it(method, kernel, budget):
    whole = table(layer("x", 10, 8, kernel, decay=0.7, seed=1), layer("y", 12, 9, kernel, decay=0.5, seed=2), other=7)
    own = "tucker2" if method == "auto" else method
    one, two = (grid(la, own, budget) for la in whole.layers)
    costs = (one[:, None, 0] + two[None, :, 0]).ravel()
    errors = (one[:, None, 1] + two[None, :, 1]).ravel()
    rest = getattr(whole, budget) - sum(getattr(la, budget) for la in whole.layers)
    prices = np.geomspace(1e-9, 1, 400)
    supported = {int(costs[np.argmin(errors + price * costs)]) for price in prices}
    checked = 0
    for allowed in sorted(supported)[:-1]:
        ratio = getattr(whole, budget) / (rest + allowed + 0.5)
        plan = make_plan(whole, method, RankRule("ratio", ratio, budget=budget, policy="global"))
        assert error(plan) == pytest.approx(errors[costs <= allowed].min(), abs=1e-12)
        checked += 1
    assert checked > 3


@pytest.mark.parametrize("flat", [False, True])
def test_a_front_holds_what_nothing_beats(flat):
    la = layer("x", 10, 8, decay=0.7)
    if flat:  # many ranks of the same error
        la = dataclasses.replace(la, spectrum_out=(1.0,) * 10, spectrum_in=(1.0,) * 8)
    found = front(la, "tucker2", Budget(table(la), RankRule("ratio", 2, policy="global")))
    every = grid(la, "tucker2", "params")
    for price, lost in zip(found.prices, found.errors, strict=True):
        assert not any(p <= price and e < lost - 1e-12 for p, e in every)
    for p, e in every:
        assert np.any((found.prices <= p) & (found.errors <= e + 1e-12))
    assert found.ranks[-1] == ()
    assert np.all(np.diff(found.prices) > 0) and np.all(np.diff(found.errors) < 0)
    assert [cost(la, "tucker2", r).params for r in found.ranks[:-1]] == found.prices[:-1].tolist()


def test_tails_by_their_definition():
    assert tails((4.0, 3.0, 2.0, 1.0), 4) == pytest.approx([1, 0.6, 0.3, 0.1, 0])
    assert tails((3.0, 1.0), 3) == pytest.approx([1, 0.25, 0, 0])
    assert not tails((0.0, 0.0), 2).any()
    assert energy_rank(np.array([3.0, 1.0]), 0.75) == 1


def test_no_spectrum_predicts_cp():
    with pytest.raises(InputError, match=r"no spectrum predicts that of CP.*'uniform' or 'later'"):
        make_plan(net(), "cp", RankRule("ratio", 2, policy="global"))


def test_spectra_are_needed_exactly_where_they_are_used():
    bare = dataclasses.replace(
        net(), layers=tuple(dataclasses.replace(la, spectrum_out=(), spectrum_in=()) for la in net().layers)
    )
    rules = [RankRule("ratio", 1.5, policy=name) for name, p in POLICIES.items() if not p.by_sensitivities]
    rules += [RankRule("energy", 0.9), RankRule("vbmf", 1.0), RankRule("manual", ranks={"b": 3})]
    assert not needs_spectra(None)
    for rule in rules:
        try:
            make_plan(bare, "tucker2", rule)
        except InputError:
            assert needs_spectra(rule)
        else:
            assert not needs_spectra(rule)


def test_global_plans_a_large_network_at_once():
    blocks = [(64, 3), (128, 4), (256, 6), (512, 3)]
    layers = [layer(f"{c}.{n}", c, c, decay=0.99, seed=n) for c, many in blocks for n in range(many)]
    layers += [layer(f"up{c}.{n}", 4 * c, c, 1, decay=0.99, seed=n) for c, many in blocks for n in range(many)]
    assert all(refusal(la, "svd") is None for la in layers)
    plan = make_plan(table(*layers), "auto", RankRule("ratio", 3, policy="global", budget="macs"))
    assert reached(table(*layers), plan, "macs") == pytest.approx(3, rel=1e-3)
