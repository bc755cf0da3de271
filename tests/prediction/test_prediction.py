"""Sensitivities are measured, kept and added up; what was not measured is said."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from msgspec import structs
from tiny_net import decomposed, spec_in

from tdq_core.analysis.layer_changes import measure
from tdq_core.analysis.one_layer import split
from tdq_core.api.predictions import predict
from tdq_core.compression.decompose.modules import apply_plan
from tdq_core.errors import InputError
from tdq_core.pipeline.run import run
from tdq_core.pipeline.session import Session
from tdq_core.prediction.change import Asked, Changes, Part, layer_change, parts_of
from tdq_core.prediction.predictor import Predictor
from tdq_core.prediction.sensitivity import DENSE, MEASURED, SENSITIVITIES, Sensitivities
from tdq_core.prediction.track import kept, prediction_of, score
from tdq_core.ranks.costs import ladder
from tdq_core.ranks.plan import make_plan
from tdq_core.records.store import RunStore, Store
from tdq_core.specs import RankRule, RunSpec


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("predicted")


@pytest.fixture(scope="module")
def spec(folder: Path) -> RunSpec:
    return spec_in(folder)


@pytest.fixture(scope="module")
def found(spec: RunSpec, folder: Path) -> Sensitivities:
    return measure(spec, images=20, store=Store(SENSITIVITIES, folder / "runs")).sensitivities


@pytest.fixture
def runs(folder: Path, found: Sensitivities, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TDQ_RUNS", str(folder / "runs"))
    return folder / "runs"


def change(found: Sensitivities, spec: RunSpec) -> float:
    table = found.tables["outputs" if spec.calibrated else "weights"]
    return Changes(found).of(parts_of(make_plan(table, spec.method, spec.rule).layers), Asked.of(spec, table.layers))


def test_every_layer_is_measured_in_every_form_that_it_can_take(found: Sensitivities) -> None:
    assert set(found.layers) == {"stem", "first.conv1", "first.conv2", "second.conv1", "second.conv2", "head"}
    for layer in found.layers.values():
        assert set(layer.rounding[DENSE]) == set(MEASURED)
    assert set(found.layers["first.conv1"].fits) == {"tucker2", "svd", "cp+epc", "spatial"}
    assert set(found.layers["first.conv1"].rounding) == {DENSE, "tucker2", "svd", "cp", "cp+epc", "spatial"}
    assert set(found.layers["head"].fits) <= {"svd"}


def test_fewer_ranks_and_fewer_bits_change_more(found: Sensitivities) -> None:
    for layer in found.layers.values():
        parts = layer.rounding[DENSE]
        assert parts["w2"] > parts["w4"] and parts["a4"] > parts["a6"]
        for fits in layer.fits.values():
            points = fits["outputs"]
            assert points[0].error > points[-1].error and points[0].change > points[-1].change


def test_a_change_is_that_of_the_layer_alone(found: Sensitivities, spec: RunSpec, runs: Path) -> None:
    """Held against the whole way of a run: decompose by hand one layer, and compare logits."""
    point = found.layers["second.conv1"].fits["svd"]["weights"][1]
    asked = spec.changed(method="svd", rule=RankRule("manual", ranks={"second.conv1": point.ranks[0]}))
    inputs = Session().open(asked.changed(precision="w4a8"))
    plan = make_plan(found.tables["weights"], "svd", asked.rule)
    module = inputs.model.module
    other, _ = apply_plan(module, plan)
    images = torch.cat(list(split(inputs, found.images)[1].calibration()))
    with torch.no_grad():
        before, after = (m(images).double() for m in (module, other))
    before, after = (z - z.mean(1, keepdim=True) for z in (before, after))
    assert point.change == pytest.approx(float((after - before).square().sum() / before.square().sum()), rel=1e-4)


def test_kept_and_read_again(found: Sensitivities, spec: RunSpec, runs: Path) -> None:
    again = measure(spec, images=20, store=Store(SENSITIVITIES, runs))
    assert again.reused and again.sensitivities == found
    assert Sensitivities.from_dict(json.loads(found.to_json())) == found


@pytest.mark.parametrize("broken", [
    {"flips": []}, {"images": 0}, {"layers": {"nobody": {"fits": {}, "rounding": {"dense": {}}}}}, {"tables": {}},
    {"schema": 2}, {"more": 1}, {"spec": {}},
])  # fmt: skip
def test_a_damaged_file_is_refused(found: Sensitivities, broken: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Sensitivities.from_dict(json.loads(found.to_json()) | broken)


def test_the_sum_is_that_of_its_layers_and_rises_with_the_ratio(found: Sensitivities, spec: RunSpec) -> None:
    changes = [change(found, decomposed(spec, ratio, calibrated=True)) for ratio in (1.2, 1.6, 2.2)]
    assert changes == sorted(changes) and changes[0] < changes[2]
    plan = make_plan(found.tables["outputs"], "tucker2", RankRule("ratio", 1.6))
    asked = Asked.of(decomposed(spec, 1.6, calibrated=True), found.tables["outputs"].layers)
    assert changes[1] == pytest.approx(
        sum(layer_change(found, Part(p.layer.name, p.method, p.ranks), asked) for p in plan.layers)
    )


def test_bits_add_to_it(found: Sensitivities, spec: RunSpec) -> None:
    plain, *rounded = (
        change(found, decomposed(spec, calibrated=True, precision=p)) for p in ("fp32", "w8", "w4", "w4a4")
    )
    assert plain < rounded[0] < rounded[1] < rounded[2]


def test_measured_ranks_give_the_measured_change(found: Sensitivities, spec: RunSpec) -> None:
    layer = found.tables["outputs"].layer("first.conv2")
    for point in found.layers["first.conv2"].fits["tucker2"]["outputs"]:
        rule = RankRule("manual", ranks={"first.conv2": point.ranks})
        asked = spec.changed(method="tucker2", rule=rule, calibrated=True)
        assert change(found, asked) == pytest.approx(point.change), layer


@pytest.mark.parametrize(("options", "said"), [
    ({"finetune": 5}, "fine-tuning"),
    ({"precision": "w4a8", "quantization_aware": True}, "quantization-aware"),
    ({"precision": "int8", "granularity": "tensor"}, "one scale"),
    ({"precision": "int8", "condition": False}, "not conditioned"),
])  # fmt: skip
def test_what_was_never_measured_is_declined(
    found: Sensitivities, spec: RunSpec, options: dict[str, Any], said: str
) -> None:
    asked = decomposed(spec, calibrated=True).changed(**options)
    plan = make_plan(found.tables["outputs"], "tucker2", asked.rule)
    answer = Predictor(found).predict(asked, plan.layers)
    assert answer.drop is None and answer.reason and said in answer.reason


def test_ranks_outside_the_grid_are_declined(found: Sensitivities, spec: RunSpec) -> None:
    layers = {name: layer.fits["cp+epc"]["outputs"] for name, layer in found.layers.items() if "cp+epc" in layer.fits}
    name = next(n for n in layers if ladder(found.tables["outputs"].layer(n), "cp")[0][0] < layers[n][0].ranks)
    rule = RankRule("manual", ranks={name: 1})
    asked = spec.changed(method="cp", epc=True, rule=rule, calibrated=True)
    answer = Predictor(found).predict(asked, make_plan(found.tables["outputs"], "cp", rule).layers)
    assert answer.reason and name in answer.reason and "smaller than any" in answer.reason


def test_a_run_keeps_what_was_predicted_of_it(spec: RunSpec, runs: Path) -> None:
    asked = decomposed(spec, calibrated=True)
    before = predict(asked)
    record = run(asked).record
    said = prediction_of(record)
    assert said == before and said is not None and said.drop is not None and said.low < said.drop < said.high  # type: ignore[operator]
    assert record.provenance["predicted"]["sensitivities"]
    assert RunStore().get(record.run_id) == record
    fared = score(kept(r for r in RunStore().found().values if r.spec.model == spec.model))
    assert fared.runs == 1 and fared.error == pytest.approx(abs(record.drop()[0] - said.drop))
    dense = RunStore().usable(run(spec).record.run_id)
    assert dense and prediction_of(dense) is None, "the dense network is no prediction"


def test_runs_of_the_network_refit_it(spec: RunSpec, runs: Path, found: Sensitivities) -> None:
    record = run(decomposed(spec, 2.0, calibrated=True)).record
    own = Predictor(found, [record])
    assert (
        len(own.runs) == 1
        and own.predict(
            record.spec, make_plan(own.table(record.spec), record.spec.method, record.spec.rule).layers
        ).runs
        == 1
    )
    other = structs.replace(record, digests={**record.digests, "model": "another"})
    assert not Predictor(found, [other]).runs


def test_on_the_command_line(
    tdq: Callable[..., Any], tmp_path: Path, folder: Path, spec: RunSpec, found: Sensitivities
) -> None:
    options = ["--model", spec.model.name, "--weights", "random", "--data", "digits", "--calib-samples", 30,
               "--samples", 30, "--mean", "0.5", "--std", "0.5", "--input-size", "8"]  # fmt: skip
    plan = ["--method", "tucker2", "--ratio", "1.5", "--calibrated", "--json"]
    declined = tdq("predict", *options, *plan)
    assert declined.returncode == 0
    answer = json.loads(declined.stdout)
    assert answer["drop"] is None and "tdq sensitivity" in answer["reason"]
    (tmp_path / "runs").mkdir(exist_ok=True)
    (tmp_path / "runs" / "sensitivities").symlink_to(folder / "runs" / "sensitivities")
    answer = json.loads(tdq("predict", *options, *plan).stdout)
    assert set(answer) >= {"drop", "low", "high", "within_noise", "reason"} and answer["low"] <= answer["drop"]
    wrong = tdq("predict", *options, "--method", "tucker2", "--ratio", "900", "--calibrated")
    assert wrong.returncode == 2 and "out of reach" in wrong.stderr
    told = tdq("predict", "--score").stdout
    assert "mean error, points" in told and "resnet18_cifar10" in told, "shipped runs that had been predicted"
