"""The drop that is predicted while sliders move, and the curve that a plan lies on: ResNet-20, from what is shipped."""

from pathlib import Path

import plotly.graph_objects as go
import pytest
from test_views import metrics, opened, words

from dashboard.facts.foreseen import RATIOS, foreseen, front, measured
from dashboard.figures.foreseen import foreseen_figure
from tdq_core.prediction.predictor import Predictor
from tdq_core.prediction.sensitivity import SENSITIVITIES
from tdq_core.prediction.shelf import predictor_for, sensitivities_for
from tdq_core.ranks.plan import make_plan
from tdq_core.records.record import RunRecord
from tdq_core.records.store import RUNS, Store, shipped_folder
from tdq_core.specs import RankRule, RunSpec

SPEC = RunSpec.of("resnet20_cifar10", "cifar10-jpeg", calib_samples=1000, method="tucker2", calibrated=True,
                  rule=RankRule("ratio", 3.0, policy="global"), precision="int8", backend="onnxruntime")  # fmt: skip


@pytest.fixture(scope="module")
def records() -> tuple[RunRecord, ...]:
    return Store(RUNS, shipped_folder()).found().values


@pytest.fixture(scope="module")
def prior() -> Predictor:
    """Without any run of the network."""
    found = sensitivities_for(SPEC, Store(SENSITIVITIES, shipped_folder()).found().values)
    assert found
    return Predictor(found)


def test_the_predicted_curve_rises_inside_its_band(prior: Predictor) -> None:
    curve = front(prior, SPEC)
    assert len(curve) >= 6
    drops = [point.drop for point in curve]
    assert drops == sorted(set(drops)) and all(p.low <= p.drop <= p.high for p in curve)
    assert [p.ratio for p in curve] == pytest.approx(RATIOS[: len(curve)], rel=0.02)


def test_measured_runs_lie_on_it_before_any_of_them_is_known(prior: Predictor, records: tuple[RunRecord, ...]) -> None:
    table, near = prior.table(SPEC), 0
    for run in measured(records, SPEC):
        spec = run.record.spec
        guess = prior.predict(spec, make_plan(table, "tucker2", spec.rule).layers, images=5000)
        if guess.drop is None or guess.low is None or guess.high is None:
            assert guess.reason and "smaller than any" in guess.reason and run.ratio > 5
            continue
        near += 1
        assert guess.low <= run.drop <= guess.high
        assert abs(guess.drop - run.drop) < (0.02 if run.drop < 0.1 else 0.05)
    assert near >= 5


def test_its_own_runs_narrow_the_band(prior: Predictor, records: tuple[RunRecord, ...]) -> None:
    known = predictor_for(SPEC, prior.sensitivities, records)
    assert known.runs and not prior.runs
    widths = [[p.high - p.low for p in front(each, SPEC)] for each in (prior, known)]
    assert sum(widths[1]) < sum(widths[0])


def test_ranks_by_hand_have_a_curve_too(prior: Predictor) -> None:
    plan = make_plan(prior.table(SPEC), "tucker2", SPEC.rule)
    layer = plan.decomposed()[0]
    by_hand = SPEC.changed(rule=RankRule("manual", ranks={layer.layer.name: layer.ranks}))
    now = foreseen(prior, by_hand, make_plan(prior.table(by_hand), "tucker2", by_hand.rule))
    assert now and front(prior, by_hand)


def test_the_figure_holds_the_plan_its_curve_and_its_runs(prior: Predictor, records: tuple[RunRecord, ...]) -> None:
    now = foreseen(prior, SPEC, make_plan(prior.table(SPEC), "tucker2", SPEC.rule))
    figure: go.Figure = foreseen_figure(front(prior, SPEC), measured(records, SPEC), now, SPEC)
    named = {trace.name: trace for trace in figure.data}
    assert set(named) == {"90 % band", "predicted", "measured", "this plan, predicted"}
    assert now and list(named["this plan, predicted"].y) == [100 * now.drop]
    assert figure.layout.yaxis.range[1] >= 100 * now.high


def test_on_the_page(app: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TDQ_RUNS", str(tmp_path))
    subject = {"model": "resnet20_cifar10", "data": "cifar10-jpeg", "method": "cp", "epc": "True", "precision": "int8"}
    near = opened(app, "views/explore.py", **subject, ratio="1.5")
    assert "Predicted drop" in metrics(near) and "90 %" in words(near)
    far = opened(app, "views/explore.py", **subject, ratio="4.0")
    assert float(metrics(far)["Predicted drop"].replace("\N{MINUS SIGN}", "-")) > 1
    other = opened(app, "views/explore.py", method="tucker2")
    assert "Predicted drop" not in metrics(other) and any(b.label == "Measure the layers" for b in other.button)
    tuned = opened(app, "views/explore.py", **subject, ratio="2.0", finetune="10")
    assert "Predicted drop" not in metrics(tuned) and "fine-tuning" in words(tuned)
