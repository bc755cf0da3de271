"""Every page that the router names: it runs, shows the core's numbers, and says what to do where there is nothing."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from made_up import four_cells, layer_table, record
from streamlit.testing.v1 import AppTest

from dashboard.facts.additions import additions_of, verdict_text
from dashboard.facts.comparison import AGAINST
from dashboard.words import text
from tdq_core.analysis.additivity import find_cells
from tdq_core.jobs import queue as jobs
from tdq_core.jobs.queue import JobState, Made, Request, Result
from tdq_core.ranks.plan import make_plan
from tdq_core.records.store import RunStore
from tdq_core.specs import RankRule, RunSpec
from tdq_core.specs.choices import POLICIES


def opened(app: str, page: str, **query: str) -> AppTest:
    at = AppTest.from_file(app, default_timeout=60)
    for name, value in query.items():
        at.query_params[name] = value
    at.run()
    if not page.endswith("explore.py"):
        at.switch_page(page)
        for name, value in query.items():
            at.query_params[name] = value
        at.run()
    assert not at.exception, at.exception[0].stack_trace
    return at


def words(at: AppTest) -> str:
    elements: Sequence[object] = [*at.markdown, *at.caption, *at.warning, *at.error, *at.info, *at.success]
    return "\n".join(str(e.value) for e in elements)  # type: ignore[attr-defined]


def metrics(at: AppTest) -> dict[str, str]:
    return {m.label: m.value for m in at.metric}


def test_every_page_runs_with_runs_and_without(app: str, pages: list[str], filled: Path) -> None:
    files = [p.relative_to(Path(app).parent) for p in Path(app).parent.glob("views/*.py") if p.stem != "__init__"]
    assert sorted(pages) == sorted(map(str, files)) and len(pages) >= 4
    pages = [p for p in pages if not p.endswith("glossary.py")]
    for page in pages:
        assert opened(app, page).title[0].value
    for path in filled.rglob("*.json"):
        path.unlink()
    for page in pages:
        at = opened(app, page)
        assert re.search(r"press \*\*Run\*\*", words(at)), f"{page} does not say what to do next"


def test_a_torn_file_is_one_sentence_and_the_rest_still_works(app: str, pages: list[str], filled: Path) -> None:
    (filled / f"{'9' * 16}.json").write_text((filled / f"{'a' * 16}.json").read_text()[:300])
    for page in pages:
        at = opened(app, page)
        sentences = [w.value for w in at.warning if "cannot be read" in w.value]
        assert len(sentences) == 1 and "99.json' cannot be read" in sentences[0], page
    assert len(opened(app, "views/runs.py", everything="True").dataframe[0].value) == 7


def test_explore_shows_the_chosen_run_as_the_core_computes_it(app: str, filled: Path) -> None:
    for one in four_cells():
        at = opened(app, "views/explore.py", run=one.run_id)
        drop, low, high = one.drop()
        shown = metrics(at)
        assert shown["Top-1 drop (points)"] == text.points(drop)
        assert shown["File size"] == text.file_size(one.metrics.bytes)  # type: ignore[union-attr]
        assert f"95 % {text.interval(low, high)}, paired by image" in words(at)
        assert "A note for the reader." in words(at)
        assert f"{text.both_ways(one.bytes_ratio())}; dense" in words(at)


def test_explore_draws_one_group_and_says_what_it_left_out(app: str, filled: Path) -> None:
    at = opened(app, "views/explore.py")
    assert "3 runs not drawn: 1 failed, 1 refused, 1 on another model or other images." in words(at)
    assert not at.dataframe, "made when it is looked at"
    at.session_state["runs_table"] = True
    at.run()
    assert at.dataframe[0].value["run_id"].tolist() == [f"explore?run={name * 16}" for name in "acbd"]


def test_the_layers_of_a_run_are_shown_when_they_are_asked_for(app: str, filled: Path) -> None:
    at = opened(app, "views/explore.py", run="b" * 16)
    assert not at.dataframe
    at.session_state[f"layers-{'b' * 16}"] = True
    at.run()
    (table,) = at.dataframe
    assert table.value["layer"].tolist() == [la.name for la in four_cells()[1].layers]
    assert table.proto.placeholder == "", "what is missing is left empty"


@pytest.mark.parametrize("name", ["e", "f"])
def test_an_unfinished_run_shows_its_reason(app: str, filled: Path, name: str) -> None:
    at = opened(app, "views/explore.py", run=name * 16)
    assert "It could not be done." in at.error[0].value


def test_the_plan_is_the_cores_plan(app: str, filled: Path) -> None:
    for method, rule, query in (
        ("tucker2", RankRule("ratio", 2.0), {}),
        ("svd", RankRule("ratio", 1.5), {"method": "svd", "ratio": "1.5"}),
        ("auto", RankRule("energy", 0.8, keep_ends=False),
         {"method": "auto", "rule": "energy", "energy": "0.8", "ends": "False"}),
        *((m, RankRule("ratio", r, policy=p, budget="macs", multiple=4),
           {"method": m, "ratio": str(r), "policy": p, "budget": "macs", "multiple": "4"})
          for m, p, r in (("tucker2", "energy", 1.5), ("auto", "vbmf", 1.03), ("svd", "global", 1.5),
                          ("cp", "later", 1.5))),
    ):  # fmt: skip
        at = opened(app, "views/explore.py", precision="int8", calibrated="False", **query)
        plan = make_plan(layer_table(), method, rule)
        shown = metrics(at)
        assert shown["Planned params"] == text.count(plan.params)
        assert shown["Planned MACs"] == text.count(plan.macs)
        assert shown["Weight bytes"] == text.file_size(plan.params)


def test_moving_a_slider_goes_on_by_hand_from_the_rules_ranks(app: str, filled: Path) -> None:
    at = opened(app, "views/explore.py")
    start = make_plan(layer_table(), "tucker2", RankRule("ratio", 2.0))
    ranks = {p.layer.name: p.ranks for p in start.decomposed()}
    slider = next(s for s in at.slider if s.label.startswith("rank out"))
    assert slider.value == ranks["block2.conv1.0"][0]
    slider.set_value(slider.value + 3).run()
    ranks["block2.conv1.0"] = (ranks["block2.conv1.0"][0] + 3, ranks["block2.conv1.0"][1])
    plan = make_plan(layer_table(), "tucker2", RankRule("manual", ranks=ranks))
    assert at.session_state["rule"] == "manual"
    assert metrics(at)["Planned params"] == text.count(plan.params) != text.count(start.params)


def test_a_share_of_full_rank_is_applied_to_all_shown_layers(app: str, filled: Path) -> None:
    at = opened(app, "views/explore.py")
    at.session_state["share"] = 25
    next(b for b in at.button if b.label == "Apply to 3 shown").click().run()
    ranks = {"stem.0": (2, 1), "block1.conv1.0": (8, 8), "block2.conv1.0": (16, 8)}
    plan = make_plan(layer_table(), "tucker2", RankRule("manual", ranks=ranks))
    assert metrics(at)["Planned params"] == text.count(plan.params)


def test_a_plan_that_cannot_be_made_is_a_sentence_and_nothing_can_be_run(app: str, filled: Path) -> None:
    at = opened(app, "views/explore.py", ratio="900.0")
    assert "The ratio 900 is out of reach" in at.warning[0].value and "--" not in at.warning[0].value
    assert next(b for b in at.button if b.label == "Run").disabled


def test_a_policy_that_has_nothing_to_go_by_is_not_offered(app: str, filled: Path) -> None:
    for method, missing in (("cp", {"least output error", "least predicted drop"}), ("svd", {"least predicted drop"})):
        at = opened(app, "views/explore.py", method=method)
        offered = set(next(w for w in at.selectbox if w.key == "policy").options)
        assert {row.label for row in POLICIES.values()} - offered == missing
        assert not next(b for b in at.button if b.label == "Run").disabled


def test_run_submits_exactly_what_was_planned(app: str, filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Request] = []
    job = jobs.Job(jobs.jobs_folder() / "one")

    def submit(request: Request) -> jobs.Job:
        asked.append(request)
        job.folder.mkdir(parents=True)
        jobs.finish(job, Result(state="done", run_id="d" * 16, reused=True))
        return job

    monkeypatch.setattr(jobs, "submit", submit)
    at = opened(app, "views/explore.py", method="svd", ratio="1.5", precision="int8", backend="onnxruntime",
                calibrated="False")  # fmt: skip
    next(b for b in at.button if b.label == "Run").click().run()
    spec = RunSpec.of("digits_resnet", "digits", method="svd", rule=RankRule("ratio", 1.5), precision="int8",
                   backend="onnxruntime")  # fmt: skip
    assert asked == [Request(kind="run", spec=spec)]
    at.run()
    assert "Measured before, nothing was run again" in at.success[0].value
    assert metrics(at)["Top-1 drop (points)"] == text.points(four_cells()[3].drop()[0])


def test_additivity_shows_every_group_of_four_cells(app: str, filled: Path) -> None:
    at = opened(app, "views/additivity.py")
    (one,) = additions = additions_of(find_cells(four_cells()))
    kinds, table = (frame.value for frame in at.dataframe)
    assert len(table) == 1 and kinds["groups"].tolist() == [1]
    assert table["joint"][0] == 100 * one.joint[0] == pytest.approx(9)
    assert table["sum"][0] == 100 * one.summed[0] == pytest.approx(6)
    assert verdict_text(additions) in words(at)


def test_compare_takes_its_runs_from_the_address(app: str, filled: Path) -> None:
    at = opened(app, "views/compare.py", runs=f"{'a' * 16},{'d' * 16}")
    table = at.dataframe[0].value.set_index("")
    first, second = table.columns
    assert (first, second) == ("1. dense, FP32", "2. Tucker-2, ratio 2, INT8")
    assert table.loc["params", second] == "125  (x 0.12)" and table.loc["run", second] == "dddddddd"
    lost, low, high = four_cells()[3].drop()  # the first is the dense model
    assert table.loc[AGAINST, second] == f"{text.points(lost)} {text.interval(low, high)}: more is lost"
    assert at.dataframe[1].value["2. ranks"].tolist() == ["7 x 5"]


def test_runs_filters_and_keeps_the_refused(app: str, filled: Path) -> None:
    at = opened(app, "views/runs.py", only_state="failed,refused")
    table = at.dataframe[0].value
    assert sorted(table["state"]) == ["failed", "refused"] and set(table["reason"]) == {"It could not be done."}


def test_what_the_address_says_counts_only_where_it_can_be_chosen(app: str, filled: Path) -> None:
    at = opened(
        app, "views/explore.py", model="/tmp/evil.py:make", data="folder:/etc", method="rm", ratio="much", rule="x"
    )
    assert at.session_state["subject"].startswith("digits_resnet@digits@")
    assert sum("is not here" in w.value for w in at.warning) == 4
    assert (at.session_state["method"], at.session_state["ratio"], at.session_state["rule"]) == (
        "tucker2",
        2.0,
        "ratio",
    )


def test_the_address_round_trips(app: str, filled: Path) -> None:
    chosen = {"method": "svd", "precision": "int8", "backend": "onnxruntime", "rule": "energy", "energy": "0.75",
              "ends": "False", "calibrated": "False", "finetune": "50", "run": "b" * 16,
              "x": "macs", "y": "top1", "intervals": "True"}  # fmt: skip
    first = opened(app, "views/explore.py", **chosen)
    address = {name: first.query_params[name] for name in first.query_params}
    assert address == chosen | {"subject": first.session_state["subject"]}
    again = opened(app, "views/explore.py", **address)
    assert metrics(again) == metrics(first)
    assert {k: again.session_state[k] for k in chosen} == {k: first.session_state[k] for k in chosen}


def test_how_a_ratio_is_shared_out_round_trips(app: str, filled: Path) -> None:
    chosen = {"method": "svd", "policy": "later", "budget": "macs", "multiple": "8", "depth": "2.5"}
    first = opened(app, "views/explore.py", **chosen)
    assert {name: first.query_params[name] for name in chosen} == chosen
    assert {k: str(first.session_state[k]) for k in chosen} == chosen
    wrong = opened(app, "views/explore.py", policy="x", budget="nothing", multiple="3", depth="99", finetune="-1")
    settled = [wrong.session_state[k] for k in ("policy", "budget", "multiple", "finetune")]
    assert settled == ["uniform", "params", "1", 0]


def test_work_under_way_is_found_again_by_a_new_session(app: str, filled: Path) -> None:
    import fcntl

    jobs.jobs_folder().mkdir(parents=True)
    with (jobs.jobs_folder() / "turn").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        job = jobs.submit(Request(kind="run", spec=RunSpec.of("digits_resnet", "digits")))
        at = opened(app, "views/explore.py")
        assert "Waiting for its turn" in at.get("progress")[0].proto.text
        next(b for b in at.button if b.label == "Cancel").click().run()
        assert jobs.poll(job).state == "cancelled"
    at.run()
    assert "Cancelled: nothing was recorded." in at.info[0].value


def test_a_record_of_a_newer_schema_is_told_and_not_guessed(app: str, filled: Path) -> None:
    newer = {**record("9").to_dict(), "schema": 99}
    (filled / f"{'9' * 16}.json").write_text(json.dumps(newer))
    at = opened(app, "views/runs.py", everything="True")
    assert "schema 1. Got 99" in at.warning[0].value
    assert len(RunStore(filled).folders) == 1 and len(at.dataframe[0].value) == 7


def test_a_search_that_finds_no_layer_says_so(app: str, filled: Path) -> None:
    at = opened(app, "views/explore.py", layers="True")
    layers_before = len(at.dataframe)
    at.text_input(key="layers_shown").set_value("zzz").run()
    assert not at.exception and len(at.dataframe) == layers_before - 1
    assert any("has zzz in its name" in box.value for box in at.info)


def test_others_jobs_are_seen_and_what_they_come_to_changes_nothing_here(
    app: str, filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = opened(app, "views/explore.py")
    shown = at.session_state["run"]
    job, state = jobs.Job(jobs.jobs_folder() / "theirs"), [JobState("running", "evaluate", 1, 2)]
    monkeypatch.setattr(jobs, "running", lambda: [job])  # as it was when the page began to look
    monkeypatch.setattr(jobs, "poll", lambda _: state[0])
    at.run()
    assert any(b.label == "Cancel" for b in at.button), "anybody may end it"
    state[0] = JobState("done", made=Made("run", "d" * 16))
    at.run()
    assert at.session_state["run"] == shown and not any(b.label == "Cancel" for b in at.button)
    assert not at.success and not at.exception and "theirs" not in at.session_state["jobs"]


def test_what_an_address_names_in_vain_is_told_once(app: str, filled: Path) -> None:
    for page in ("explore", "runs"):
        at = opened(app, f"views/{page}.py", subject="nope@digits")
        assert sum("nope" in w.value and "is not here" in w.value for w in at.warning) == 1
