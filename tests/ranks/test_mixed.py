"""The method 'mixed': no single form loses less at the same ratio, and what is planned is what is built."""

import itertools
from dataclasses import replace

import pytest
import torch
from torch import nn

from tdq_core.compression.decompose.modules import apply_plan
from tdq_core.compression.decompose.spectra import with_weight_spectra
from tdq_core.errors import InputError
from tdq_core.graph.layer_table import count_params, read_layers
from tdq_core.layers.methods import METHODS, Chooser
from tdq_core.layers.table import Change, LayerTable
from tdq_core.ranks.costs import ladder
from tdq_core.ranks.expected import changes_at, expected_error
from tdq_core.ranks.plan import LayerPlan, Plan, make_plan
from tdq_core.specs import RankRule, RunSpec

AMONG = next(row.among for row in METHODS.values() if isinstance(row, Chooser) and row.among)


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 24, 3, padding=1), nn.Conv2d(24, 32, 3, padding=1), nn.Conv2d(32, 32, 3, stride=2, padding=1),
        nn.Conv2d(32, 48, 1), nn.Conv2d(48, 48, (1, 5), padding="same"), nn.Flatten(), nn.Linear(48 * 36, 10),
    ).eval()  # fmt: skip


@pytest.fixture(scope="module")
def table(net: nn.Module) -> LayerTable:
    return with_weight_spectra(read_layers(net, torch.zeros(2, 3, 12, 12), name="net", digest="0"), net)


def lost(plan: Plan) -> float:
    """What the spectra predict of all layers."""
    return sum(float(expected_error(p.layer, p.method, p.ranks)) for p in plan.decomposed())


@pytest.mark.parametrize("budget", ["params", "macs"])
@pytest.mark.parametrize("ratio", [1.2, 1.6, 2.2])
def test_no_single_method_is_predicted_to_lose_less(table: LayerTable, ratio: float, budget: str) -> None:
    rule = RankRule("ratio", ratio, policy="global", budget=budget)
    mixed = make_plan(table, "mixed", rule)
    for name in ("auto", "svd"):
        assert lost(mixed) <= lost(make_plan(table, name, rule)) * 1.02  # a step of the greedy solver


def changed(table: LayerTable, worse: dict[str, float]) -> LayerTable:
    """Every form of a layer changes the answers by the same law, times `worse` of its method."""
    layers = []
    for la in table.layers:
        rows = [Change("none", (), (), 0.0)]
        for method, factor in worse.items():
            rungs = [ranks for ranks, _ in ladder(la, method)] if la.taps > 1 or method == "svd" else []
            if rungs:
                errors = sorted({float(expected_error(la, method, r)) for r in (rungs[0], rungs[-1])})
                rows.append(Change(method, tuple(errors), tuple(factor * e for e in errors), 0.0))
        layers.append(replace(la, changes=tuple(rows)))
    return replace(table, layers=tuple(layers))


def total(plans: tuple[LayerPlan, ...]) -> float:
    found = 0.0
    for p in plans:
        if p.method != "none":
            own = next(c for c in p.layer.changes if c.method == p.method)
            found += float(
                changes_at(expected_error(p.layer, p.method, p.ranks).reshape(1), own.errors, own.changes)[0]
            )
    return found


@pytest.mark.parametrize("best", AMONG)
def test_the_form_that_moves_the_answers_least_is_taken_and_built(net: nn.Module, table: LayerTable, best: str) -> None:
    known = changed(table, {name: 1e-4 if name == best else 1.0 for name in AMONG})
    rule = RankRule("ratio", 1.5, policy="predicted")
    plan = make_plan(known, "mixed", rule)
    taken = {p.method for p in plan.decomposed() if p.layer.taps > 1}
    assert taken == {best}
    built, made = apply_plan(net, plan)
    assert count_params(built) == plan.params
    assert set(made) == {p.layer.name for p in plan.decomposed()}


def test_mixed_changes_add_up_to_no_more_than_those_of_one_method(table: LayerTable) -> None:
    factors = itertools.permutations((1.0, 2.0, 5.0))
    for each in factors:
        known = changed(table, dict(zip(AMONG, each, strict=True)))
        rule = RankRule("ratio", 1.5, policy="predicted")
        mixed = total(make_plan(known, "mixed", rule).layers)
        assert mixed <= total(make_plan(known, "svd", rule).layers) * 1.02


@pytest.mark.parametrize(
    "rule", [RankRule("manual", ranks={"0": 3}), RankRule("ratio", 2.0), RankRule("energy", 0.5), RankRule("vbmf", 1.0)]
)
def test_without_what_it_chooses_by_it_is_refused_in_a_sentence(rule: RankRule) -> None:
    with pytest.raises(InputError, match="method 'auto'"):
        RunSpec.of("digits_resnet", "digits", method="mixed", rule=rule)
