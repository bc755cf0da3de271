"""What was measured is built again with its own ranks, whatever its rule would follow from today."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from tdq_core.errors import InputError
from tdq_core.layers.table import LayerTable
from tdq_core.layers.times import FormTime
from tdq_core.pipeline import layer_times, run_files
from tdq_core.pipeline.bench import bench
from tdq_core.pipeline.build import Built, Work, build, layer_records
from tdq_core.pipeline.exports.export import export_run
from tdq_core.pipeline.inputs import read_table
from tdq_core.pipeline.layer_times import measure
from tdq_core.pipeline.run import run
from tdq_core.pipeline.session import Compressed, Session
from tdq_core.pipeline.speed.races import Settings
from tdq_core.prediction.layer_times import LAYER_TIMES, LayerTimes
from tdq_core.ranks.built import plan_built
from tdq_core.ranks.plan import Plan, make_plan
from tdq_core.records.record import LayerRecord, RunRecord
from tdq_core.records.store import Store
from tdq_core.specs import ModelSpec, PrecisionSpec, RankRule, RunSpec

FP32 = PrecisionSpec()
INT8 = PrecisionSpec("int8", "onnxruntime")
BY_TIME = RunSpec.of("digits_resnet", "digits", method="mixed", precision="int8", backend="onnxruntime",
                     rule=RankRule("ratio", 1.5, policy="global", budget="latency"))  # fmt: skip


@pytest.fixture(scope="module")
def table() -> LayerTable:
    return read_table(ModelSpec("digits_resnet"))


def records_of(plan: Plan) -> tuple[LayerRecord, ...]:
    return layer_records(plan, Compressed(None, {}))  # type: ignore[arg-type]


@pytest.mark.parametrize("precision", [FP32, INT8, PrecisionSpec("w4"), PrecisionSpec("w4", bits="auto")], ids=str)
@pytest.mark.parametrize("method, rule", [
    ("tucker2", RankRule("ratio", 2.0)), ("cp", RankRule("ratio", 3.0)), ("auto", RankRule("energy", 0.8)),
    ("mixed", RankRule("ratio", 2.0, policy="global", keep_ends=False)), ("svd", RankRule("vbmf", 0.7)),
    ("tucker2", RankRule("ratio", 9.0, policy="global", budget="bytes")), ("none", None),
], ids=str)  # fmt: skip
def test_the_plan_of_what_was_built_is_the_plan_that_built_it(
    table: LayerTable, method: str, rule: RankRule | None, precision: PrecisionSpec
) -> None:
    if rule and rule.budget == "bytes" and not precision.numbers.simulated:
        precision = PrecisionSpec("w4")
    if precision.bits == "auto" and not (rule and rule.budget == "bytes"):
        precision = PrecisionSpec("w4")
    plan = make_plan(table, method, rule, precision)
    again = plan_built(table, records_of(plan), precision)
    assert replace(again, bytes=None) == replace(plan, bytes=None)
    assert plan.bytes is None or again.bytes == plan.bytes


def test_in_floats_layers_have_no_bits_of_their_own(table: LayerTable) -> None:
    rule = RankRule("ratio", 9.0, policy="global", budget="bytes")
    plan = make_plan(table, "tucker2", rule, PrecisionSpec("w4", bits="auto"))
    assert plan.bits
    assert not plan_built(table, records_of(plan), FP32).bits


def test_a_run_of_another_network_is_one_sentence(table: LayerTable) -> None:
    layers = records_of(make_plan(table, "tucker2", RankRule("ratio", 2.0)))
    with pytest.raises(InputError, match=f"has layers that 'digits_resnet' does not have: {layers[1].name}"):
        plan_built(replace(table, layers=table.layers[:1] + table.layers[2:]), layers, FP32)


@pytest.fixture
def by_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> RunRecord:
    """A run whose ranks follow from times that were measured anew since, and tell others."""
    monkeypatch.setenv("TDQ_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(layer_times, "PASSES", 3)
    monkeypatch.setattr(layer_times, "DENSE_PASSES", 3)
    found = measure(BY_TIME).times
    times = Store(LAYER_TIMES)
    times.put(at(found, lambda ranks: sum(ranks)))
    record = run(BY_TIME).record
    assert record.state == "complete", record.reason
    times.put(at(found, lambda ranks: 2 * sum(ranks)))
    assert [la.ranks for la in run(BY_TIME).record.layers] != [la.ranks for la in record.layers]
    return record


def at(found: LayerTimes, ns_of: Callable[[tuple[int, ...]], int]) -> LayerTimes:
    """Made-up times: a form takes more with its ranks, and the dense layer as long as at 60."""

    def form(each: FormTime) -> FormTime:
        if not each.grids:
            return replace(each, dense=60)
        grids = [replace(g, ns=tuple(max(1, ns_of(r)) for r in itertools.product(*g.ranks))) for g in each.grids]
        return replace(each, grids=tuple(grids))

    layers = {name: tuple(form(each) for each in forms) for name, forms in found.layers.items()}
    return structs.replace(found, layers=layers, dense_ns=60 * len(layers) + 10)


def test_it_is_timed_at_every_precision_with_its_own_ranks(by_time: RunRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    plans: list[Plan] = []

    def built(work: Work, folder: Path) -> Built:
        plans.append(work.plan)
        return build(work, folder)

    monkeypatch.setattr(run_files, "build", built)
    speed = bench(by_time, by_time.spec, Settings((1,), (1,), 0.01))
    assert {(race.backend, race.precision) for race in speed.races} == {("onnxruntime", "int8"), ("torch", "fp32")}
    own = [[(part.layer.name, part.ranks) for part in plan.layers] for plan in plans if plan.decomposed()]
    assert own == 2 * [[(la.name, la.ranks) for la in by_time.layers]]
    assert speed.profile and [la.params for la in speed.profile.layers] == [la.params for la in by_time.layers]


def test_its_file_is_its_own(by_time: RunRecord, tmp_path: Path) -> None:
    done = export_run(by_time, by_time.spec, "onnx", tmp_path / "out")
    assert done.record and done.record.run_id == by_time.run_id
    assert done.told.params == by_time.metrics.params  # type: ignore[union-attr]


def test_what_is_opened_again_has_the_name_of_the_run(by_time: RunRecord) -> None:
    assert Session().open(by_time.spec, as_built=by_time).run_id == by_time.run_id
    assert Session().open(by_time.spec).run_id != by_time.run_id
