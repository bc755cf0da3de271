"""Ranks by predicted change: no other policy moves the answers less, and what follows from sensitivities says so."""

import contextlib
import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import structs
from tiny_net import decomposed, spec_in
from typer.testing import CliRunner

from tdq_core.analysis.layer_changes import measure
from tdq_core.api.predictions import predict
from tdq_core.cli import app
from tdq_core.errors import InputError, Refused
from tdq_core.layers.table import Change, Layer, LayerTable
from tdq_core.pipeline.run import run
from tdq_core.prediction.allocation import plan_table
from tdq_core.prediction.change import Asked, Changes, Unknown, parts_of
from tdq_core.prediction.inverse import with_drop
from tdq_core.prediction.predictor import Predictor
from tdq_core.prediction.sensitivity import SENSITIVITIES, Sensitivities
from tdq_core.ranks.costs import cost
from tdq_core.ranks.expected import changes_at, expected_error
from tdq_core.ranks.plan import Plan, make_plan
from tdq_core.records.store import RunStore, Store, shipped_folder
from tdq_core.specs import RankRule, RunSpec

SHIPPED = Store(SENSITIVITIES, shipped_folder())
RESNET20 = RunSpec.of("resnet20_cifar10", "cifar10-jpeg", calib_samples=1000, method="tucker2", calibrated=True,
                      rule=RankRule("ratio", 2.0, policy="predicted"))  # fmt: skip


@pytest.fixture(scope="module")
def resnet20() -> Sensitivities:
    return next(s for s in SHIPPED.found().values if s.spec.model == RESNET20.model)


def planned(found: Sensitivities, spec: RunSpec) -> tuple[Plan, float]:
    """The plan, and the change that it makes."""
    table = plan_table(found, spec)
    plan = make_plan(table, spec.method, spec.rule, spec.precision)
    return plan, Changes(found).of(parts_of(plan.layers), Asked.of(spec, table.layers))


@pytest.mark.parametrize("budget", ["params", "macs"])
@pytest.mark.parametrize(("method", "epc"), [("tucker2", False), ("svd", False), ("cp", True), ("cp", False)])
@pytest.mark.parametrize("precision", ["fp32", "w4a8"])
def test_no_other_policy_moves_the_answers_less(
    resnet20: Sensitivities, method: str, epc: bool, budget: str, precision: str
) -> None:
    for ratio, calibrated in itertools.product((1.3, 2.5), (True, False)):
        spec = RESNET20.changed(method=method, epc=epc, precision=precision, calibrated=calibrated)
        rule = RankRule("ratio", ratio, budget=budget, policy="predicted")
        plan, best = planned(resnet20, spec.changed(rule=rule))
        assert getattr(plan_table(resnet20, spec), budget) / getattr(plan, budget) >= ratio
        for policy in ("uniform", "later", "global"):
            other = RankRule("ratio", ratio, budget=budget, policy=policy)
            with contextlib.suppress(InputError, Refused, Unknown):
                assert best <= planned(resnet20, spec.changed(rule=other))[1] * 1.001


def test_it_is_within_a_step_of_the_best_there_is() -> None:
    """Held against every combination of two layers."""
    layers = tuple(
        Layer(name, "conv", 10, 8, (1, 1), 64, 64, False, spectrum_out=tuple(decay**n for n in range(8)),
              spectrum_in=tuple(decay**n for n in range(8)),
              changes=(Change("none", (), (), 0.0), Change("svd", (1e-4, 0.5), (1e-4 * weight, weight), 0.0)))
        for name, decay, weight in (("x", 0.5, 3.0), ("y", 0.7, 0.5))
    )  # fmt: skip
    table = LayerTable("net", "", sum(la.params for la in layers) + 20, 10_000, layers)

    def choices(layer: Layer) -> list[tuple[int, float]]:
        own = layer.changes[1]
        found = [(layer.params, 0.0)]
        for rank in range(1, 9):
            change = changes_at(np.array([expected_error(layer, "svd", (rank,))]), own.errors, own.changes)[0]
            if np.isfinite(change) and (params := cost(layer, "svd", (rank,)).params) < layer.params:
                found.append((params, float(change)))
        return found

    both = [(a[0] + b[0], a[1] + b[1]) for a, b in itertools.product(*map(choices, layers))]
    for ratio in (1.2, 1.4, 1.8):
        plan = make_plan(table, "svd", RankRule("ratio", ratio, policy="predicted"))
        mine = sum(dict(choices(p.layer))[p.cost.params] for p in plan.layers)
        assert mine == pytest.approx(min(c for params, c in both if table.params / (params + 20) >= ratio))


def test_rounding_that_a_form_bears_badly_keeps_it_dense(resnet20: Sensitivities) -> None:
    table = plan_table(resnet20, RESNET20)
    name = next(p.layer.name for p in planned(resnet20, RESNET20)[0].decomposed())
    spoilt = tuple(
        replace(la, changes=tuple(replace(c, rounding=9.0 if c.method == "tucker2" else 0.0) for c in la.changes))
        if la.name == name else la for la in table.layers
    )  # fmt: skip
    plan = make_plan(replace(table, layers=spoilt), "tucker2", RankRule("ratio", 1.3, policy="predicted"))
    left = next(p for p in plan.layers if p.layer.name == name)
    assert left.method == "none" and left.skipped_because and "smaller predicted change" in left.skipped_because


@pytest.mark.parametrize(("options", "said"), [
    ({"granularity": "tensor", "precision": "int8"}, "without one scale a tensor"),
    ({"method": "tucker2", "solver": "tensorly", "calibrated": False}, "without another solver"),
])  # fmt: skip
def test_what_was_never_measured_is_said(resnet20: Sensitivities, options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=f"'predicted' cannot share ranks out: .*{said}.*another policy"):
        plan_table(resnet20, RESNET20.changed(**options))


def test_what_follows_when_the_ranks_are_there_shares_none_of_them_out(resnet20: Sensitivities) -> None:
    plain = RESNET20.changed(method="tucker2", rule=RankRule("ratio", 1.5, policy="predicted"))
    later = plain.changed(finetune=5, reestimate_bn=True)
    assert plan_table(resnet20, later) == plan_table(resnet20, plain)


def test_a_run_by_it_says_which_sensitivities_it_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TDQ_RUNS", str(tmp_path / "runs"))
    spec = decomposed(spec_in(tmp_path)).changed(rule=RankRule("ratio", 1.4, policy="predicted"))
    with pytest.raises(InputError, match="`tdq sensitivity` with the same model and images"):
        run(spec)
    assert not RunStore(tmp_path / "runs").all()
    found = measure(spec_in(tmp_path), images=10).sensitivities
    record = run(spec).record
    assert record.state == "complete", record.reason
    assert record.digests["sensitivities"] == found.content
    assert [(la.name, la.ranks) for la in record.layers] == [
        (p.layer.name, p.ranks) for p in planned(found, spec)[0].layers
    ]
    assert predict(spec).drop is not None and run(spec).reused


@pytest.mark.parametrize("drop", [0.01, 0.04, 0.15])
@pytest.mark.parametrize(
    ("method", "precision"), [("tucker2", "fp32"), ("cp", "fp32"), ("svd", "int8"), ("auto", "w4a8")]
)
def test_the_ratio_for_a_drop_loses_no_more_and_hardly_less(
    resnet20: Sensitivities, drop: float, method: str, precision: str
) -> None:
    predictor, spec = Predictor(resnet20), RESNET20.changed(method=method, precision=precision)
    found = with_drop(predictor, spec, drop)
    assert found.rule and found.rule.value

    def predicted(ratio: float) -> float | None:
        asked = spec.changed(rule=RankRule("ratio", ratio, policy="predicted"))
        with contextlib.suppress(Refused):  # out of the grid
            plan = make_plan(predictor.table(asked), method, asked.rule, asked.precision)
            return predictor.predict(asked, plan.layers).drop
        return None

    assert (own := predicted(found.rule.value)) is not None and own <= drop * 1.0001
    assert (more := predicted(found.rule.value * 1.15)) is None or more > drop


def test_less_than_rounding_costs_is_out_of_reach(resnet20: Sensitivities) -> None:
    with pytest.raises(Refused, match=r"at most 0\.1 points is out of reach for 'resnet20_cifar10'"):
        with_drop(Predictor(resnet20), RESNET20.changed(precision="w2"), 0.001)


def test_a_drop_to_aim_for_needs_a_method_and_is_a_drop() -> None:
    asked = ["predict", "--model", "resnet20_cifar10", "--data", "cifar10-jpeg", "--target"]
    both = ["drop<=1%", "--method", "svd", "--ratio", "3"]
    for words, said in (
        (["ratio>=4", "--method", "svd"], "is of a drop"),
        (["drop<=1%", "--method", "none"], "give a '--method'"),
        (both, "either --target or --ratio"),
        (["drop<=1%", "--method", "svd", "--budget", "bytes", "--precision", "w4"], "Got bytes"),
    ):
        done = CliRunner().invoke(app, [*asked, *words])
        assert isinstance(done.exception, InputError) and said in str(done.exception)


@pytest.mark.parametrize(
    "ways", [{"precision": "w4a8", "quantization_aware": True}, {"precision": "w4", "ranges": "mse"}]
)
def test_a_drop_is_not_aimed_for_where_nothing_is_predicted(resnet20: Sensitivities, ways: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"^[^\n]*the sensitivities were measured without [^\n]+$"):
        with_drop(Predictor(resnet20), RESNET20.changed(method="tucker2", **ways), 0.05)


def test_sensitivities_are_named_by_what_was_measured(resnet20: Sensitivities) -> None:
    """The same elsewhere is the same; another number is not."""
    elsewhere = structs.replace(resnet20, provenance={"cpu": "another"})
    name, layer = next(iter(resnet20.layers.items()))
    other = structs.replace(layer, rounding={**layer.rounding, "dense": {**layer.rounding["dense"], "w4": 0.5}})
    assert elsewhere.content == resnet20.content
    assert structs.replace(resnet20, layers={**resnet20.layers, name: other}).content != resnet20.content
