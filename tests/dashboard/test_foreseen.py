"""The drop that is predicted while sliders move, and the curve that a plan lies on: ResNet-20, from what is shipped."""

import unicodedata
from pathlib import Path
from urllib.parse import unquote

import pytest
from test_views import metrics, opened, words

from dashboard.facts.foreseen import RATIOS, Curve, Files, Foreseen, as_foreseen, files_like, foreseen, front, measured
from dashboard.figures.live import SIZES, live
from dashboard.figures.tradeoff import X_AXES, Y_AXES, frame_of, tradeoff_info
from dashboard.words import text
from tdq_core.prediction.curve import Run
from tdq_core.prediction.predictor import Prediction, Predictor
from tdq_core.prediction.sensitivity import SENSITIVITIES
from tdq_core.prediction.shelf import predictor_for, sensitivities_for
from tdq_core.ranks.plan import make_plan
from tdq_core.records.record import RunRecord
from tdq_core.records.store import RUNS, Store, shipped_folder
from tdq_core.specs import RankRule, RunSpec

SPEC = RunSpec.of("resnet20_cifar10", "cifar10-jpeg", calib_samples=1000, method="tucker2", calibrated=True,
                  rule=RankRule("ratio", 3.0, policy="global"), precision="int8", backend="onnxruntime")  # fmt: skip


NONE = "\N{EN DASH}"
FILES = Files(dense=1_100_000, besides=20_000)


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
    curve = front(prior, SPEC, FILES)
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
    widths = [[p.high - p.low for p in front(each, SPEC, FILES)] for each in (prior, known)]
    assert sum(widths[1]) < sum(widths[0])


def test_ranks_by_hand_have_a_curve_too(prior: Predictor) -> None:
    plan = make_plan(prior.table(SPEC), "tucker2", SPEC.rule)
    layer = plan.decomposed()[0]
    by_hand = SPEC.changed(rule=RankRule("manual", ranks={layer.layer.name: layer.ranks}))
    now = foreseen(prior, by_hand, make_plan(prior.table(by_hand), "tucker2", by_hand.rule), FILES)
    assert now and front(prior, by_hand, FILES)


def test_what_is_laid_over_the_chart_lies_where_the_chart_would_draw_it(
    prior: Predictor, records: tuple[RunRecord, ...]
) -> None:
    """On every axis: a run measured exactly as it was planned and predicted has the place of its own point."""
    own = [r for r in records if r.metrics and r.spec.model == SPEC.model]
    one = next(run.record for run in measured(own, SPEC) if run.drop < 0.1)
    drop, low, high = one.drop()
    assert one.metrics
    table = prior.table(one.spec)
    plan = make_plan(table, "tucker2", one.spec.rule)
    files = files_like([one], one.spec, table.params)
    found = as_foreseen(Prediction(drop=drop, low=low, high=high), one.spec, plan, files)
    assert found and files.besides == one.metrics.bytes - one.metrics.params
    for x_axis in X_AXES:
        assert SIZES[x_axis](found) == pytest.approx(X_AXES[x_axis].value(one))
        for y_axis in Y_AXES:
            info = tradeoff_info(own, x_axis=x_axis, y_axis=y_axis, span=0.1)
            frame = frame_of(info)
            point = next(p for p in info.points if p.run_id == one.run_id)
            if y_axis == "drop":
                place = f"M{1000 * frame.across(point.x):.1f} {1000 * frame.down(100 * point.y):.1f}h"
                drawn = unquote(
                    live(frame, Curve(front(prior, SPEC, files), measured(own, SPEC), files), found, "#123456")
                )
                assert f'id="plan" d="{place}' in drawn
                assert drawn.count("<path") == 5 and drawn.count("#123456") == 3
            else:
                lost = 100 * (frame.top1 - drop)
                assert frame.down(lost) == pytest.approx(frame.down(100 * point.y), abs=0.01)


def test_a_plan_beyond_the_picture_is_told_and_not_moved_into_it(records: tuple[RunRecord, ...]) -> None:
    own = [r for r in records if r.metrics and r.spec.model == SPEC.model]
    frame, nothing = frame_of(tradeoff_info(own, x_axis="params", span=0.03)), Curve([], [], FILES)
    beyond = {"UP": (0.5, 150_000), "LEFT": (0.01, 100), "RIGHT": (0.01, 10**9), "DOWN": (-0.5, 150_000)}
    for way, (drop, params) in beyond.items():
        arrow = unicodedata.lookup(f"{way}WARDS ARROW")
        far = Foreseen(2.0, drop, drop - 0.01, drop + 0.01, params, 10, 10)
        drawn = unquote(live(frame, nothing, far, "#123456"))
        assert 'id="plan"' not in drawn and f"{arrow} this plan: {text.points(drop)}" in drawn
    assert 'id="plan"' not in live(frame, nothing, None, "#123456")


def test_on_the_page(app: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TDQ_RUNS", str(tmp_path))
    subject = {"model": "resnet20_cifar10", "data": "cifar10-jpeg", "method": "cp", "epc": "True", "precision": "int8"}
    near = opened(app, "views/explore.py", **subject, ratio="1.5")
    assert metrics(near)["Predicted drop"] == "within noise" and "90 %" in words(near)
    far = opened(app, "views/explore.py", **subject, ratio="4.0")
    assert float(metrics(far)["Predicted drop"].replace("\N{MINUS SIGN}", "-")) > 1
    tuned = opened(app, "views/explore.py", **subject, ratio="2.0", finetune="10")
    assert metrics(tuned)["Predicted drop"] == NONE and "fine-tuning" in words(tuned), "planned, and nothing told of it"
    monkeypatch.setattr("dashboard.shelf.catalog.sensitivities", lambda spec: None)
    other = opened(app, "views/explore.py", model="digits_resnet", data="digits", method="tucker2", ratio="1.37")
    assert metrics(other)["Predicted drop"] == NONE and any(b.label == "Measure the layers" for b in other.button)


def test_one_run_more_does_not_ask_the_others_again(
    prior: Predictor, records: tuple[RunRecord, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = [r for r in records if r.spec.model == SPEC.model]
    memory: dict[str, Run | None] = {}
    predictor_for(SPEC, prior.sensitivities, own[:-1], memory)
    asked: list[str] = []
    seen = Predictor.seen
    monkeypatch.setattr(Predictor, "seen", lambda self, record: asked.append(record.run_id) or seen(self, record))
    again = predictor_for(SPEC, prior.sensitivities, own, memory)
    assert asked == [own[-1].run_id]
    assert again.runs == predictor_for(SPEC, prior.sensitivities, own).runs
