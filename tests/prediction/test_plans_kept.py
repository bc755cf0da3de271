"""What plans have worked out is remembered with the layers, and no plan can tell."""

import dataclasses
import itertools
import json
from pathlib import Path

import pytest
from msgspec import structs

from tdq_core.errors import Refused
from tdq_core.layers.table import LayerTable
from tdq_core.prediction import inverse
from tdq_core.prediction.inverse import with_drop
from tdq_core.prediction.predictor import TABLES, Predictor
from tdq_core.prediction.sensitivity import Sensitivities
from tdq_core.ranks import fronts
from tdq_core.ranks.plan import Plan, make_plan
from tdq_core.specs import PrecisionSpec, RankRule, RunSpec

SHIPPED = Path(__file__).parents[2] / "cached_runs" / "sensitivities"
FOUND = [Sensitivities.from_dict(json.loads(path.read_text())) for path in sorted(SHIPPED.glob("*.json"))]
RESNET20 = next(found for found in FOUND if found.spec.model.name == "resnet20_cifar10")
WITH_FILES = LayerTable.read(next((SHIPPED.parent / "layers").glob("digits_resnet-*.json")))
BASE = RunSpec.of("resnet20_cifar10", "cifar10-jpeg").changed(
    method="svd", rule=RankRule("ratio", 2.0), calibrated=True
)
RULES = [
    RankRule("ratio", value, policy=policy, budget=budget, multiple=multiple)
    for policy, budget, value, multiple in itertools.product(
        ("predicted", "global"), ("params", "macs"), (1.6, 2.2), (1, 2)
    )
]


def untouched(table: LayerTable) -> LayerTable:
    """The same layers, of which nothing has been worked out."""
    return dataclasses.replace(table, layers=tuple(dataclasses.replace(la) for la in table.layers))


def plan(table: LayerTable, method: str, rule: RankRule, precision: PrecisionSpec) -> Plan | str:
    try:
        return make_plan(table, method, rule, precision)
    except Refused as refused:
        return str(refused)


def bare(made: Plan | str) -> object:
    """What a plan says, without the layers that it says it of."""
    if isinstance(made, str):
        return made
    return [(p.layer.name, p.method, p.ranks, p.cost, p.skipped_because) for p in made.layers], made.params, made.bytes


@pytest.mark.parametrize("method", ["tucker2", "svd", "auto", "mixed"])
def test_a_plan_is_the_same_whatever_was_planned_before(method: str) -> None:
    """Forwards and backwards over policies, budgets, multiples and ratios, on the same layers."""
    numbers = PrecisionSpec("w4")
    table = Predictor(RESNET20).table(BASE.changed(precision="w4", rule=RULES[0]))
    for rule in (*RULES, *reversed(RULES)):
        assert bare(plan(table, method, rule, numbers)) == bare(plan(untouched(table), method, rule, numbers)), rule


def test_what_layers_take_in_a_file_is_asked_of_each_file() -> None:
    """Of the same bits, with and without those of activations."""
    for ratio, precision in itertools.product((9.0, 10.0), ("w4", "w4a8", "w4")):
        rule, numbers = RankRule("ratio", ratio, policy="global", budget="bytes"), PrecisionSpec(precision)
        made = [bare(plan(table, "auto", rule, numbers)) for table in (WITH_FILES, untouched(WITH_FILES))]
        assert made[0] == made[1] and not isinstance(made[0], str)
    assert not any(isinstance(key, tuple) for layer in WITH_FILES.layers for key in layer.worked_out)


@pytest.mark.parametrize("method", ["tucker2", "auto"])
def test_ranks_for_a_drop_are_the_same_on_layers_that_remember(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [(BASE.changed(method=method, precision=p, rule=RankRule("ratio", 2.0, budget=budget)), drop)
             for p in ("fp32", "w4a8") for budget in ("params", "macs") for drop in (0.01, 0.05)]  # fmt: skip
    predictor = Predictor(RESNET20)
    kept = [with_drop(predictor, *each) for each in (*asked, *asked)]
    forgetful = Predictor(RESNET20)
    whole = inverse.ratio_within, inverse.make_plan
    monkeypatch.setattr(forgetful, "table", lambda spec: untouched(predictor.table(spec)))
    monkeypatch.setattr(inverse, "make_plan", lambda table, *rest: whole[1](untouched(table), *rest))
    assert kept == 2 * [with_drop(forgetful, *each) for each in asked]


def test_fronts_are_found_once_for_all_ratios(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    whole = fronts.front_of
    monkeypatch.setattr(fronts, "front_of", lambda found: calls.append(1) or whole(found))
    predictor, spec = Predictor(RESNET20), BASE.changed(method="tucker2", precision="int8")
    with_drop(predictor, spec, 0.05)
    first = len(calls)
    with_drop(predictor, spec, 0.02)
    assert 0 < first == len(calls) <= len(RESNET20.layers)


def test_few_tables_are_remembered_and_each_is_that_of_its_run() -> None:
    predictor = Predictor(RESNET20)
    bits = ("fp32", "int8", "w6", "w4", "w3", "w8a8", "w4a8")
    specs = [BASE.changed(precision=p, rule=RankRule("ratio", 2.0, policy="predicted")) for p in bits]
    specs += [specs[3].changed(bits={"layer1.*": few}) for few in (2, 3)]
    for spec in (*specs, *specs):
        assert predictor.table(spec) == Predictor(RESNET20).table(spec)
        assert predictor.table(spec) is predictor.table(spec)
    assert len(predictor._tables) == TABLES
    other = structs.replace(specs[0].decomposition, calibrated=False)
    assert predictor.table(structs.replace(specs[0], decomposition=other)) != predictor.table(specs[0])
