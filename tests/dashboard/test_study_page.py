"""The study's figures: an address each, the runs that belong there and no others, words counted from them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from made_up import N, record
from msgspec.structs import replace
from streamlit.testing.v1 import AppTest

from cached_runs.study import CP_RATIOS, NETWORKS, RATIOS, dense_spec, is_study_run, study_specs
from dashboard.facts import findings
from dashboard.facts.curves import curves_of, rounded
from dashboard.facts.pipelines import network_recipes, recipe_rows
from dashboard.facts.study_views import CALIBRATED, CP_INT8, ELSEWHERE, TUCKER2_ALL, TUCKER2_LATER, VIEWS, points_of
from dashboard.figures.study import curves_figure
from dashboard.pages import PAGES
from dashboard.words import study as study_words
from dashboard.words import text
from tdq_core.records.record import RunRecord
from tdq_core.records.store import RunStore, shipped_folder
from tdq_core.specs import RankRule
from tdq_core.stats.intervals import paired_mean

MODEL = "resnet20_cifar10"
SUBJECT = f"{MODEL}@cifar10-jpeg"


def made(name: str, *, policy: str = "uniform", spec: dict[str, Any] | None = None, **about: Any) -> RunRecord:
    """A hand-made record of one of the study's networks."""
    one = record(name, **about)
    own = {"model": MODEL, "data": "cifar10-jpeg", "calib_samples": 1000} | (spec or {})
    rule = one.spec.rule and RankRule("ratio", one.spec.rule.value, policy=policy, depth=4 if policy == "later" else 1)
    changed = one.spec.changed(rule=rule, **own)
    return replace(one, spec=changed)


def study_records() -> list[RunRecord]:
    """Dense in fp32 and INT8, Tucker-2 at 2x over all layers (both) and later ones, CP as it is and conditioned."""
    two = {"ratio": 2.0, "size": 500}
    return [
        made("a", right=N - 4),
        made("b", right=N - 6, precision="int8", size=1000),
        made("c", right=N - 14, method="tucker2", **two),
        made("d", right=N - 20, method="tucker2", precision="int8", **two),
        made("e", right=N - 5, method="tucker2", policy="later", **two),
        made("f", right=N - 24, method="cp", **two),
        made("0", right=N - 150, method="cp", precision="int8", spec={"condition": False}, **two),
        made("1", right=N - 60, method="cp", precision="int8", **two),
    ]


@pytest.fixture
def studied(empty: Path) -> Path:
    for one in (*study_records(), record("2", right=N - 4)):
        RunStore(empty).put(one)
    return empty


def opened(app: str, **query: str) -> AppTest:
    at = AppTest.from_file(app, default_timeout=60)
    at.run()
    at.switch_page("views/study.py")
    at.query_params.clear()
    for name, value in query.items():
        at.query_params[name] = value
    at.run()
    assert not at.exception, at.exception[0].stack_trace
    return at


def only_the_dense_one(folder: Path) -> None:
    for path in folder.glob("*.json"):
        if path.stem[0] != "a":
            path.unlink()


def words(at: AppTest) -> str:
    return "\n".join(str(e.value) for e in (*at.markdown, *at.caption))


@pytest.mark.parametrize("view", VIEWS, ids=lambda v: v.key)
def test_every_figure_has_an_address(app, studied, view):
    at = opened(app, figure=view.key, network=MODEL)
    assert at.subheader[0].value == view.question
    said = at.query_params["figure"] if view is not VIEWS[0] else view.key
    assert (said, at.query_params["subject"]) == (view.key, SUBJECT)
    assert len(words(at)) > 300, "a figure comes with words"


@pytest.mark.parametrize("view", VIEWS, ids=lambda v: v.key)
def test_where_nothing_is_measured_every_figure_says_what_to_do(app, empty, view):
    at = opened(app, figure=view.key, network=MODEL)
    assert f"No run of {MODEL} on CIFAR-10 (JPEG copy) is here." in words(at)
    assert at.code[0].value == f"python -m cached_runs {MODEL}"


def test_a_figure_whose_runs_are_missing_does_not_say_that_there_are_none(app, studied):
    only_the_dense_one(studied)
    at = opened(app, figure="calibrated", network=MODEL)
    assert f"What this figure draws has not been measured for {MODEL}." in words(at)
    assert at.code[0].value == f"python -m cached_runs {MODEL}" and "No run of" not in words(at)


def test_where_the_weights_are_missing_as_well_training_comes_first(app, studied, monkeypatch, tmp_path):
    monkeypatch.setattr("dashboard.shelf.catalog.WEIGHTS_FOLDER", tmp_path)
    only_the_dense_one(studied)
    at = opened(app, figure="calibrated", network=MODEL)
    first, then = at.code[0].value.splitlines()
    assert first == f"tdq train {MODEL} --data cifar10-jpeg:FOLDER" and then == f"python -m cached_runs {MODEL}"
    assert "Its weights are not here." in words(at)


def test_an_address_that_names_nothing_shows_the_first_figure(app, studied):
    at = opened(app, figure="nonsense", network="../etc/passwd")
    assert at.subheader[0].value == VIEWS[0].question and at.query_params["subject"] == SUBJECT
    assert sum("not here" in w.value for w in at.warning) == 2, "and says so"


@pytest.mark.parametrize("figure,page", list(ELSEWHERE.items()))
def test_a_figure_that_has_a_page_of_its_own_leads_there(app, studied, figure, page):
    at = opened(app, figure=figure, network=MODEL)
    links = [e.proto for e in at.get("page_link")]
    assert any(link.page.endswith(page) and MODEL in link.query_string for link in links[len(PAGES) :])


def test_what_is_none_of_the_studys_networks_is_led_to_them(app, studied):
    at = opened(app, subject="digits_resnet@digits")
    assert "this is none of them" in at.info[0].value and not at.subheader
    assert any(f"{MODEL}: 8 runs" in e.proto.label for e in at.get("page_link"))


@pytest.mark.parametrize("view", [v for v in VIEWS if v.lines], ids=lambda v: v.key)
def test_no_two_lines_of_a_figure_look_alike(view):
    looks = [(line.colour, line.dash, line.symbol) for line in view.lines]
    assert len(set(looks)) == len(looks) and len({line.label for line in view.lines}) == len(looks)


@pytest.mark.parametrize("change", [{"finetune": 9}, {"reestimate_bn": True}, {"symmetric": True},
                                    {"granularity": "tensor"}, {"solver": "tensorly"}], ids=str)  # fmt: skip
def test_a_run_with_another_choice_is_on_no_line(change):
    fitted = "solver" not in change
    one = made("c", right=N - 20, method="tucker2", precision="int8", ratio=2.0, size=500,
               policy="global" if fitted else "uniform", spec={"calibrated": fitted})  # fmt: skip
    lines = [line for view in VIEWS for line in view.lines]
    assert any(line.holds(one) for line in lines)
    assert not any(line.holds(replace(one, spec=one.spec.changed(**change))) for line in lines)


def test_a_line_holds_its_own_runs_and_the_dense_model_of_its_cell():
    found = {
        line.label: [p.record.run_id[0] for p in points_of(line, study_records())]
        for view in (TUCKER2_ALL, TUCKER2_LATER, CP_INT8)
        for line in view.lines
        if view is not TUCKER2_LATER or line.precision == "fp32"
    }
    assert found["FP32"] == ["a", "e"], "the last view of that label: later layers"
    assert found["INT8, ONNX Runtime"] == ["b", "d"] and found["INT8, PyTorch"] == []
    assert found["CP, FP32"] == ["a", "f"]
    assert found["CP, INT8 as it is"] == ["b", "0"] and found["CP, INT8 conditioned"] == ["b", "1"]
    assert found["CP + EPC, FP32"] == ["a"], "a line without decomposed runs"


def test_factors_fitted_to_outputs_are_drawn_beside_those_of_the_weights(app, studied):
    for precision in ("fp32", "int8"):
        fitted = made(
            "45"[precision == "int8"], right=N - 6, size=500, method="tucker2", ratio=2.0, policy="global",
            precision=precision, spec={"calibrated": True},
        )  # fmt: skip
        RunStore(studied).put(fitted)
    own = [r for r in RunStore(studied).all() if r.spec.model.name == MODEL]
    drawn = [[p.record.run_id[0] for p in points_of(line, own)] for line in CALIBRATED.lines]
    assert drawn == [["a", "c"], ["b", "d"], ["a", "4"], ["b", "5"]]
    told = words(opened(app, figure="calibrated", network=MODEL))
    assert "INT8 drops in points, fitted to outputs instead of to weights: 2x: +1.00 instead of +8.00." in told
    assert "outputs on 1,000 unlabelled training images" in told


def test_lines_without_decomposed_runs_are_not_drawn():
    drawn = [c.line.label for c in curves_of(CP_INT8, study_records())]
    assert drawn == ["CP, FP32", "CP, INT8 as it is", "CP, INT8 conditioned"]


def test_the_figure_shows_the_records_numbers():
    records = study_records()
    figure = curves_figure(curves_of(TUCKER2_ALL, records), intervals=True)
    (fp32,) = (t for t in figure.data if t.name == "FP32")
    assert list(fp32.x) == [1.0, 2.0]
    drop, low, high = records[2].drop()
    assert list(fp32.y) == [0.0, 100 * drop]
    bars = [fp32.error_y.arrayminus[1], fp32.error_y.array[1]]
    assert bars == pytest.approx([100 * (drop - low), 100 * (high - drop)])
    assert figure.layout.xaxis2.title.text.startswith("Params, original / compressed")


def test_below_stands_what_rounding_loses_against_fp32_at_the_same_ratio():
    records = study_records()
    curves = curves_of(TUCKER2_ALL, records)
    upper, lower = (t for t in curves_figure(curves, intervals=True).data if t.name == "INT8, ONNX Runtime")
    assert list(lower.y) == [1.0, 3.0] and list(lower.customdata) == list(upper.customdata)
    assert not lower.showlegend and lower.legendgroup == upper.legendgroup, "one name for both"
    before, after = records[2].metrics.correct(), records[3].metrics.correct()
    _, low, high = paired_mean(before.astype(float) - after.astype(float))
    assert [lower.error_y.arrayminus[1], lower.error_y.array[1]] == pytest.approx([3 - 100 * low, 100 * high - 3])
    records[2] = made("c", right=N - 14, method="tucker2", ratio=4.0, size=250)
    apart = curves_of(TUCKER2_ALL, records)
    assert [r.record.run_id[0] for r in rounded(apart[-1], apart)] == ["b"], "without its FP32 run nothing is claimed"


def test_rows_are_counted_from_the_runs():
    records = study_records()
    everywhere, later = curves_of(TUCKER2_ALL, records), curves_of(TUCKER2_LATER, records)
    fp32, int8 = findings.curve_rows(everywhere)
    assert fp32["drop at 2x (points)"].startswith("+5.00 [") and not fp32["lost on top of FP32 (points)"]
    assert fp32["within a point, by the middle, up to"] == "at no measured ratio"
    assert (int8["line"], int8["lost on top of FP32 (points)"]) == ("INT8, ONNX Runtime", "+3.00")
    assert findings.curve_rows(later)[0]["within a point, by the middle, up to"] == "2.00x"
    lost = [row["lost on top of FP32 (points)"] for row in findings.curve_rows(curves_of(CP_INT8, records))]
    assert lost == ["", "+63.00", "+18.00"] and findings.curve_rows(()) == []
    assert findings.told_beside(TUCKER2_LATER.beside, records) == (
        "FP32 drops in points, later layers first instead of all alike: 2x: +0.50 instead of +5.00."
    )
    assert findings.told_beside(CALIBRATED.beside, records) == findings.told_beside(None, records) == ""


def test_recipes_choose_the_smallest_file_within_the_bound():
    small = made("3", right=N - 4, size=250, method="tucker2", ratio=4.0, precision="int8", spec={"calibrated": True})
    rows = recipe_rows([*study_records(), small])
    own = [r for r in rows if r["pipeline"] == "TDQ's own"]
    study = [r for r in rows if r["pipeline"] == "the study's"]
    assert [r["run"][:1] for r in own] == ["", "", "3", "3"], "100 images do not show that half a point is kept"
    assert own[3]["file"] == text.both_ways(4.0) and own[3]["on the others"] == "consistent"
    assert all(r["what it is"].startswith("none: the least drop is +") and r["file"] == "" for r in study)
    assert recipe_rows(study_records())[1]["what it is"] == "not measured"


def test_networks_are_told_the_smallest_file_of_either_pipeline_within_a_point(monkeypatch):
    monkeypatch.setattr("dashboard.facts.pipelines.POINT", 0.02)  # as much as 100 images can show
    small = made("3", right=N - 4, size=250, method="tucker2", ratio=4.0, precision="int8", spec={"calibrated": True})
    (row,) = network_recipes(dict.fromkeys(NETWORKS, ()) | {MODEL: [*study_records(), small]})
    assert row["network"] == MODEL and row["TDQ's own: file"] == text.both_ways(4.0)
    assert row["TDQ's own: drop on the others"].startswith("0.00 [")
    assert (
        row["the study's: file"].startswith("none: the least drop is +") and not row["the study's: drop on the others"]
    )


def test_networks_that_are_not_trained_say_how_to():
    card = {
        "scores": {"eval": {"top1": 0.91, "top1_low": 0.90, "top1_high": 0.92, "n": 5000}},
        "recipe": {"epochs": 10, "batch": 128, "sizes": [[16, 5], [24, 3]], "depths": [[1, 4]]},
        "seconds": 2400.0, "cpu": "a CPU", "cores": 2, "threads": 2, "device": "cpu",
    }  # fmt: skip
    rows = study_words.network_rows({MODEL: card}, {MODEL: (269_722, 41_000_000), "resnet18_cifar10": (11, 22)})
    assert [r["network"] for r in rows] == list(NETWORKS)
    assert rows[0]["params"] == 269_722 and rows[0]["top-1 (%), 95 % interval"] == "91.00 [90.00, 92.00], n = 5,000"
    assert (
        "10 epochs (5 at 16 px, 3 at 24 px; 4 with 1 a stage)" in rows[0]["training"]
        and "2 threads of a CPU" in rows[0]["training"]
    )
    others = {r["network"]: r for r in rows[1:]}
    assert others["resnet18_cifar10"]["params"] == 11
    assert all(r["training"] == f"not trained yet: tdq train {m} --data cifar10-jpeg" for m, r in others.items())


@pytest.mark.parametrize("model", NETWORKS)
def test_every_line_of_the_views_is_measured_by_the_grid(model):
    """A figure that asks for runs which nobody measures would stay empty."""
    grid = [replace(record("a"), spec=spec) for spec in study_specs(model)]
    assert len({json.dumps(r.spec.to_dict()) for r in grid}) == len(grid), "nothing is asked for twice"
    for view in VIEWS:
        for line in view.lines:
            ratios = {r.spec.rule.value for r in grid if line.holds(r) and r.spec.rule}
            assert ratios == set(CP_RATIOS.get(model, RATIOS) if view is CP_INT8 else RATIOS), (view.key, line.label)


def alexnet(name: str, **about: Any) -> RunRecord:
    about["spec"] = {"model": "alexnet_cifar10", "calib_samples": 512} | about.pop("spec", {})
    return made(name, **about)


def test_a_network_of_matrices_is_drawn_with_the_method_that_factorises_them(app, empty):
    """AlexNet: `auto` stands for Tucker-2 on the curves and as the study's pipeline, and the page says so."""
    runs = [alexnet("a", right=N - 4), alexnet("b", right=N - 9, method="auto", ratio=2.0),
            alexnet("c", right=N - 4, method="auto", ratio=2.0, precision="int8", size=500),
            alexnet("d", right=N - 4, method="auto", ratio=2.0, precision="int8", size=400,
                    spec={"calibrated": True})]  # fmt: skip
    assert [p.record.run_id[0] for p in points_of(TUCKER2_ALL.lines[0], runs)] == ["a", "b"]
    assert not points_of(TUCKER2_ALL.lines[0], [made("e", right=N, method="auto", ratio=2.0)]), "of ResNet-20 it is not"
    picked = {row["pipeline"]: row["run"][0] for row in recipe_rows(runs) if row["run"]}
    assert picked == {"the study's": "c", "TDQ's own": "d"}
    for one in runs:
        RunStore(empty).put(one)
    assert "the lines are of the method `auto`" in words(opened(app, figure="tucker2-all", network="alexnet_cifar10"))
    cp = opened(app, figure="cp-int8", network="alexnet_cifar10")
    assert "not even rank 1 everywhere makes the whole network 1.25 times smaller" in cp.info[0].value


def test_runs_on_other_images_are_not_the_studys(app, studied):
    before = curves_of(TUCKER2_ALL, study_records())
    for name in "456789ghi":  # more of them than the study has
        RunStore(studied).put(made(name, right=3, spec={"samples": 50}, data="3" * 64))
    RunStore(studied).put(made("j", right=3, data="4" * 64))  # of other weights or images, and fewer
    drawn = {r.run_id for c in before for p in c.points for r in [p.record]}
    at = opened(app, figure="tucker2-all", network=MODEL)
    assert at.session_state["subject"].startswith(SUBJECT)
    chart = at.get("plotly_chart")[0].proto.spec
    assert all(run_id in chart for run_id in drawn) and "j" * 16 not in chart


@pytest.mark.parametrize(
    "other", [{"samples": 50}, {"seed": 1}, {"weights": "w.pt"}, {"data": "digits"}, {"calib_samples": 7}], ids=str
)
def test_a_run_of_the_study_is_on_its_images_and_weights(other):
    dense = dense_spec(MODEL)
    assert is_study_run(dense.changed(data="cifar10-jpeg:somewhere", precision="int8"), dense)
    assert not is_study_run(dense.changed(**other), dense)


def test_the_two_recipes_of_the_page_are_those_of_the_readme():
    """Its column of choices on every other image; the README tells the other half's too."""
    runs = [r for r in RunStore(shipped_folder()).all() if r.spec.model.name == "resnet18_cifar10"]
    told = (shipped_folder().parent / "README.md").read_text()
    for row in (row for row in recipe_rows(runs) if row["drop at most"] == "1 point"):
        cells = re.search(rf"^\| `resnet18_cifar10`, 1,000 \| {row['pipeline']}, \d+ runs \| (.*?) \|", told, re.M)
        assert cells, row
        assert cells[1].startswith(row["file"].split()[0] + ", loses ") and cells[1].endswith(
            f": {row['on the others']}"
        )
