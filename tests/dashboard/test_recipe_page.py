"""Recipes on the page Find: their chart and words as values, and the page as a person uses it."""

from pathlib import Path

import pytest
from made_up import recipe
from msgspec.structs import replace
from test_views import opened, words

from dashboard.figures.recipe import recipe_figure
from dashboard.words.recipe import arm_label, command, recipe_label, rows, sentences, target_text
from tdq_core.jobs import queue as jobs
from tdq_core.jobs.queue import Request, Result
from tdq_core.pipeline.speed.record import Race, Ratio, Timing
from tdq_core.recipes.by_time import ByTime
from tdq_core.recipes.report import RECIPES
from tdq_core.recipes.sentences import Cut
from tdq_core.recipes.target import Call
from tdq_core.records.store import Store
from tdq_core.specs import RunSpec

PLAIN = RunSpec.of("digits_resnet", "digits")


def test_every_run_stands_twice_in_the_chart_and_the_chosen_one_is_ringed() -> None:
    report = recipe()
    drawn = [t for t in recipe_figure(report).data if t.x]
    by_name = {t.name: t for t in drawn if t.name}
    assert set(by_name) == {"dense, INT8", "the study's: Tucker-2 of later layers"}
    crosses = [t for t in drawn if t.marker.symbol == "x-thin" and t.error_y.array]
    for pick, verified in zip(report.tried, crosses, strict=True):
        assert verified.y[0] == pytest.approx(100 * pick.verified_drop[0])
        ends = (verified.y[0] + verified.error_y.array[0], verified.y[0] - verified.error_y.arrayminus[0])
        assert ends == pytest.approx((100 * pick.verified_drop[2], 100 * pick.verified_drop[1]))
    ring = drawn[-1]
    assert report.chosen and (ring.x[0], ring.y[0]) == (report.chosen.bytes_ratio, 100 * report.chosen.chosen_drop[0])


@pytest.mark.parametrize(
    "target,shape",
    [("drop<=2%", {"y0": 2.0, "y1": 2.0}), ("ratio>=3", {"x0": 3.0, "x1": 3.0})],
)
def test_the_target_is_a_line(target: str, shape: dict[str, float]) -> None:
    (line,) = recipe_figure(recipe(target)).layout.shapes
    assert {k: line[k] for k in shape} == shape


def test_rows_say_their_role_and_the_reference_is_last() -> None:
    found = rows(recipe())
    assert [r["role"] for r in found] == ["chosen", "next best", "reference"]
    assert [r["meets it"] for r in found][:2] == ["yes; on the others consistent", "no"]
    assert found[0]["drop"] == pytest.approx(100 * recipe().tried[0].chosen_drop[0])


def test_a_recipe_in_one_line_and_as_a_command() -> None:
    assert recipe_label(recipe()) == "a drop of at most 4 points: 4.00x smaller, 25.0\N{NO-BREAK SPACE}% kept"
    assert target_text(recipe("drop<=1%")) == "a drop of at most 1 point"
    assert target_text(recipe("ratio>=3")) == "a file at least 3x smaller"
    assert recipe_label(recipe("ratio>=300")).endswith("not met")
    assert command(replace(recipe(), finetune=300)) == (
        "tdq recipe --model digits_resnet --data digits --target 'drop<=4%' --finetune 300"
    )


def test_a_recipe_by_time_is_told_in_times() -> None:
    timing = Timing(median_ms=1.0, q1_ms=1.0, q3_ms=1.0)
    ratio = Ratio(median=1.9, low=1.8, high=2.0, q1=1.9, q3=1.9)
    race = Race(backend="onnxruntime", precision="int8", batch=1, threads=1, rounds=15, run=timing,
                rivals={"dense": timing}, ratios={"dense": ratio}, settled=True)  # fmt: skip
    run_id = recipe("drop<=99%").tried[1].run_id
    report = recipe("drop<=99%", ByTime(Call(), 5.0, {run_id: race}))
    assert report.chosen and report.chosen.run_id == run_id
    assert recipe_label(report) == "a drop of at most 99 points at the least time: 1.90x as fast as dense INT8"
    assert command(report).endswith("--target 'drop<=99%' --least latency")
    told = " ".join(sentences(report))
    assert "timed in turn: 1.90x [1.80, 2.00] as fast." in told and "timed for this first, in 5 s" in told
    cold = recipe("drop<=99%", ByTime(Call(), 5.0, {run_id: replace(race, settled=False)}))
    assert "as fast, each right after a call of another network" in " ".join(sentences(cold))
    figure = recipe_figure(report)
    assert [t.x[0] for t in figure.data if t.name] == [1.0, 2.0] and "Time" in figure.layout.xaxis.title.text
    assert [r["told"] for r in rows(report)] == [1.0, 2.0, None]
    slow = recipe("drop<=99%", ByTime(Call()))
    assert slow.chosen and slow.chosen.arm == "dense" and recipe_label(slow).endswith("least time: dense, INT8")
    assert "is told to be faster than dense INT8" in " ".join(sentences(slow))


def test_what_was_not_looked_at_is_said() -> None:
    report = replace(recipe(), cut=(Cut("tucker2", 2.0, 0.034), Cut("study", 2.0)))
    told = sentences(report)
    assert any(arm_label("tucker2") in s and "was not measured: beyond ratio 2" in s and "3.4" in s for s in told)
    assert any(arm_label("study") in s and "only beyond ratio 2" in s for s in told)
    assert len(told) == len(sentences(recipe())) + 2


def test_only_recipes_of_the_chosen_model_and_images_are_shown(app: str, filled: Path) -> None:
    other = recipe("drop<=3%")
    Store(RECIPES).put(replace(other, spec=PLAIN.changed(model="resnet18")))
    Store(RECIPES).put(recipe("ratio>=3"))
    at = opened(app, "views/find.py", recipe=recipe("ratio>=3").recipe_id)
    box = at.selectbox(key="recipe")
    assert len(box.options) == 2 and box.value == recipe("ratio>=3").recipe_id


def test_the_page_shows_the_sentences_the_run_and_the_table(app: str, filled: Path) -> None:
    at = opened(app, "views/find.py")
    report = recipe()
    assert len(told := sentences(report)) >= 3 and all(s in words(at) for s in told)
    assert report.chosen and any(m.label == "File size" for m in at.metric)
    assert len(at.dataframe[-1].value) == 3


def test_a_recipe_that_is_not_met_warns_and_shows_the_nearest(app: str, filled: Path) -> None:
    Store(RECIPES).put(recipe("ratio>=300"))
    at = opened(app, "views/find.py", recipe=recipe("ratio>=300").recipe_id)
    assert [w.value for w in at.warning if "a file at least 300x smaller. The least loss" in w.value]
    assert any(m.label == "File size" for m in at.metric)


def test_a_torn_recipe_is_one_sentence(app: str, filled: Path) -> None:
    (filled / "recipes" / f"{'9' * 16}.json").write_text("{")
    at = opened(app, "views/find.py")
    assert [w.value for w in at.warning if "99.json' cannot be read" in w.value]
    assert sentences(recipe())[0] in words(at)


@pytest.mark.parametrize(("address", "asks"), [({}, ""), ({"recipe_least": "latency"}, "latency")])
def test_without_a_recipe_the_page_asks_for_one(
    address: dict[str, str], asks: str, app: str, empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Request] = []
    job = jobs.Job(jobs.jobs_folder() / "one")

    def submit(request: Request) -> jobs.Job:
        asked.append(request)
        (job.folder / "tmp").mkdir(parents=True)
        jobs.finish(job, Result(state="done", recipe_id=recipe().recipe_id))
        Store(RECIPES).put(recipe())
        return job

    monkeypatch.setattr(jobs, "submit", submit)
    at = opened(app, "views/find.py", target="drop", limit_drop="2.0", recipe_steps="100", **address)
    assert "No recipe has been asked" in words(at)
    next(b for b in at.button if b.label == "Run").click().run()
    at.run()
    assert asked == [Request(kind="recipe", spec=PLAIN, target="drop<=2%", finetune=100, least=asks)]
    assert sentences(recipe())[0] in words(at) and not at.exception
