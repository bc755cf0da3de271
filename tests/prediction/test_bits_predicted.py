"""Bits of single layers, by hand or chosen with ranks, are predicted from what each layer does at its own."""

import itertools
from pathlib import Path

import pytest
from msgspec import structs
from tiny_net import decomposed, spec_in

from tdq_core.analysis.layer_changes import measure
from tdq_core.pipeline.run import run
from tdq_core.prediction.change import Asked, Changes, Part, parts_of
from tdq_core.prediction.predictor import Predictor
from tdq_core.prediction.sensitivity import DENSE, SENSITIVITIES, Sensitivities
from tdq_core.prediction.track import prediction_of
from tdq_core.ranks.plan import make_plan
from tdq_core.records.store import RunStore, Store
from tdq_core.specs import PrecisionSpec, RankRule, RunSpec


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bits_predicted")


@pytest.fixture(scope="module")
def spec(folder: Path) -> RunSpec:
    return spec_in(folder)


@pytest.fixture(scope="module")
def found(spec: RunSpec, folder: Path) -> Sensitivities:
    return measure(spec, images=20, store=Store(SENSITIVITIES, folder / "runs")).sensitivities


def change(found: Sensitivities, spec: RunSpec) -> float:
    table = found.tables["outputs" if spec.calibrated else "weights"]
    plan = make_plan(table, spec.method, spec.rule, spec.precision)
    return Changes(found).of(parts_of(plan.layers), Asked.of(spec, table.layers))


def test_each_layer_adds_what_it_does_at_its_own_bits(found: Sensitivities, spec: RunSpec) -> None:
    usual = spec.changed(precision="w4")
    own = usual.changed(bits={"first.conv1": 2, "second.conv2": 3, "head": 4})
    parts = {name: layer.rounding[DENSE] for name, layer in found.layers.items()}
    moved = {
        name: parts[name][f"w{bits}"] - parts[name]["w4"] for name, bits in (("first.conv1", 2), ("second.conv2", 3))
    }
    head = parts["head"]["w4"] - parts["head"]["w4"] * (7 / 127) ** 2
    assert change(found, own) == pytest.approx(change(found, usual) + sum(moved.values()) + head)


@pytest.mark.parametrize("method", [None, "tucker2", "svd"])
def test_more_bits_are_never_predicted_to_change_more(found: Sensitivities, spec: RunSpec, method: str | None) -> None:
    asked = decomposed(spec, calibrated=True).changed(method=method) if method else spec
    every = [change(found, asked.changed(precision="w4a8", bits={"*": bits})) for bits in range(2, 9)]
    assert all(more < fewer for fewer, more in itertools.pairwise(every))
    assert every[2] == change(found, asked.changed(precision="w4a8"))


def test_a_run_by_hand_keeps_its_prediction_and_refits_the_curve(
    found: Sensitivities, spec: RunSpec, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TDQ_RUNS", str(folder / "runs"))
    asked = decomposed(spec, calibrated=True).changed(precision="w4a8", bits={"*": 3, "first.*": 6})
    record = run(asked).record
    said = prediction_of(record)
    assert said is not None and said.drop is not None and record.state == "complete"
    assert RunStore().get(record.run_id) == record
    (seen,) = Predictor(found, [record]).runs
    plan = make_plan(found.tables["outputs"], "tucker2", asked.rule, asked.precision)
    assert {la.name: la.bits for la in record.layers} == plan.bits
    unsaid = tuple(structs.replace(la, detail={}) for la in record.layers)
    without = Predictor(found).seen(structs.replace(record, layers=unsaid))
    assert without and 0 < without.change != seen.change


def test_bits_that_are_chosen_are_predicted_too(found: Sensitivities, spec: RunSpec) -> None:
    rule = RankRule("ratio", 4, budget="bytes", policy="global")
    asked = spec.changed(method="tucker2", rule=rule, calibrated=True, precision="w8a8", bits="auto")
    ranks = RankRule("manual", ranks={"first.conv2": 3})
    by_hand = PrecisionSpec("w8a8", bits={"first.conv1": 3, "second.*": 6})
    layers = make_plan(found.tables["outputs"], "tucker2", ranks, by_hand).layers
    chosen = Predictor(found).predict(asked, layers)
    given = Predictor(found).predict(asked.changed(rule=ranks, bits=by_hand.bits), layers)
    assert chosen == given and chosen.drop is not None
    assert Part("first.conv1", "none", (), 3) in parts_of(layers)


def test_ranks_of_least_predicted_drop_go_by_the_bits(found: Sensitivities, spec: RunSpec) -> None:
    rule = RankRule("ratio", 1.3, policy="predicted")
    asked = spec.changed(method="tucker2", rule=rule, calibrated=True, precision="w8", bits={"second.conv2": 2})
    table = Predictor(found).table(asked)
    usual = Predictor(found).table(asked.changed(bits="same"))
    dense = {la.name: next(c.rounding for c in la.changes if c.method == "none") for la in table.layers if la.changes}
    before = {la.name: next(c.rounding for c in la.changes if c.method == "none") for la in usual.layers if la.changes}
    assert {name for name in dense if dense[name] != before[name]} == {"second.conv2"}
    assert dense["second.conv2"] == found.layers["second.conv2"].rounding[DENSE]["w2"]
