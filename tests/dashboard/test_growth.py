"""What is described once in the engine appears on the page: no file of the dashboard names it."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from made_up import layer_table, record
from msgspec.structs import replace
from streamlit.testing.v1 import AppTest
from test_views import metrics, opened, words

from dashboard.facts.draft import MANUAL
from dashboard.figures.tradeoff import tradeoff_figure, tradeoff_info
from dashboard.panels import controls
from dashboard.words import text
from tdq_core.jobs import queue as jobs
from tdq_core.jobs.queue import Request, Result
from tdq_core.layers.methods import METHODS, SVD, Look
from tdq_core.ranks import policies
from tdq_core.records.store import RunStore
from tdq_core.specs import PRECISIONS, RankRule
from tdq_core.specs.choices import POLICIES, SOLVERS, Choice, Policy
from tdq_core.specs.option import fields_of
from tdq_core.specs.precision import Precision
from tdq_core.specs.run import fields

PROJECT = Path(__file__).resolve().parent.parent.parent
LABELLED = [f for f in (*fields(), *fields_of(RankRule)) if f.option.label]


def control(at: AppTest, key: str) -> Any:
    """The control of this key, whatever it is."""
    every = (*at.toggle, *at.slider, *at.selectbox, *at.number_input, *at.text_input, *at.segmented_control)
    return next((w for w in every if w.key == key), None)


def offered(at: AppTest, key: str) -> list[str]:
    return list(control(at, key).options)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, filled: Path) -> list[Request]:
    """What is submitted, in place of a worker."""
    found: list[Request] = []
    job = jobs.Job(jobs.jobs_folder() / "one")

    def submit(request: Request) -> jobs.Job:
        found.append(request)
        job.folder.mkdir(parents=True)
        jobs.finish(job, Result(state="done", run_id="a" * 16, reused=True))
        return job

    monkeypatch.setattr(jobs, "submit", submit)
    return found


def press_run(at: AppTest) -> None:
    next(b for b in at.button if b.label == "Run").click().run()


@pytest.mark.parametrize("field", LABELLED, ids=lambda f: f.key)
def test_every_option_with_a_label_has_a_control_that_takes_its_default(field) -> None:  # type: ignore[no-untyped-def]
    settled = controls.setting(field)
    assert settled.key == field.key and settled.fits(settled.default)
    assert controls.value_of(field, settled.default) == (controls.look(field).start or field.default)
    assert settled.parse(str(settled.default)) == settled.default, "an address that names it leads back to it"


def test_every_option_with_a_label_is_on_the_page_where_it_has_an_effect(app: str, filled: Path) -> None:
    for query in ({"method": "cp", "epc": "True", "precision": "w4", "calibrated": "True", "policy": "later"},
                  {"method": "svd", "calibrated": "False"}):  # fmt: skip
        at = opened(app, "views/explore.py", **query)
        seen = {f.key: w for f in LABELLED if (w := control(at, f.key))}
        assert all(w.label == next(f for f in LABELLED if f.key == key).option.label for key, w in seen.items())
        rest = {f.key for f in LABELLED} - set(seen)
        timed = {"batch", "threads"}  # of the budget 'latency'
        assert rest - timed == ({"solver"} if "epc" in query else {"epc", "eta", "symmetric", "condition",
                                                                    "granularity", "ranges", "depth",
                                                                    "quantization_aware", "epc_optimum", "bits",
                                                                    "effort"})  # fmt: skip
        assert timed <= rest


def test_the_solver_is_chosen_on_the_page(app: str, asked: list[Request]) -> None:
    at = opened(app, "views/explore.py", solver="tensorly", calibrated="False")
    assert len(offered(at, "solver")) == len(SOLVERS)
    press_run(at)
    assert asked[0].spec.decomposition and asked[0].spec.decomposition.solver == "tensorly"
    assert "tensorly" in text.treatment(asked[0].spec)


FIELD = """
    polish: Annotated[
        Steps,
        Option(flag="--polish", label="Polish", help="How often.", needs=lambda f: f["method"] != "none"),
    ] = 0
    brush: Annotated[
        str,
        Option(flag="--brush", label="Brush", choices=lambda: ("soft", "hard"), needs=lambda f: f["polish"] > 0,
               help="Which."),
    ] = "soft"
"""
SCRIPT = """
import json, sys
import tdq_core.specs.parts
from streamlit.testing.v1 import AppTest
from tdq_core.jobs import queue

asked = []
queue.submit = lambda request: asked.append(request) or queue.Job(queue.jobs_folder() / "one")

def opened(**query):
    at = AppTest.from_file(sys.argv[1], default_timeout=60)
    for name, value in query.items():
        at.query_params[name] = value
    at.run()
    assert not at.exception, at.exception[0].stack_trace
    return {w.key: w for w in (*at.number_input, *at.segmented_control)}, at

dense, _ = opened(method="none")
wrong, _ = opened(polish="-1")
shown, at = opened(polish="3")
brushes = list(shown["brush"].options)
shown["brush"].set_value("hard").run()
assert not at.exception, at.exception[0].stack_trace
run = [b for b in at.button if b.label == "Run"]
assert run, [str(part) for part in (*at.button, *at.error, *at.warning, *at.caption)]
run[0].click().run()
found = {"dense": "polish" in dense, "wrong": wrong["polish"].value, "label": shown["polish"].label,
         "value": shown["polish"].value, "brushes": brushes, "spec": asked[0].spec.to_dict(),
         "address": dict(at.query_params)}
print(json.dumps(found))
"""


@pytest.fixture
def grown(tmp_path: Path) -> Path:
    """The engine as it is but for two fields more in one file; everything else is the project's own."""
    engine, specs = tmp_path / "grown" / "tdq_core", tmp_path / "grown" / "tdq_core" / "specs"
    specs.mkdir(parents=True)
    for folder, changed in ((PROJECT / "tdq_core", specs.name), (PROJECT / "tdq_core" / specs.name, "parts.py")):
        for path in folder.iterdir():
            if path.name not in (changed, "__pycache__"):
                (engine / path.relative_to(PROJECT / "tdq_core")).symlink_to(path)
    source = (PROJECT / "tdq_core" / "specs" / "parts.py").read_text()
    assert source.rfind("\nclass ") == source.find("\nclass Treatment(Value"), "the last class of the file grows"
    (specs / "parts.py").write_text(source + FIELD.lstrip("\n"))
    return engine.parent


def test_a_new_option_has_a_control_an_address_and_a_place_in_the_run(app: str, filled: Path, grown: Path) -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT, app], cwd=grown, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert not found["dense"], "it has no effect there"
    assert found["wrong"] == 0 and found["brushes"] == ["soft", "hard"]
    assert (found["label"], found["value"], found["address"]["polish"]) == ("Polish", 3, "3")
    assert (found["spec"]["polish"], found["spec"]["brush"]) == (3, "hard")


def test_a_new_precision_is_chosen_planned_and_drawn(
    app: str, asked: list[Request], filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PRECISIONS, "w2", Precision(
        name="w2", label="W2 (simulated)", text="2-bit weights (simulated)", kind="simulated", weight_bits=2,
        symbol="cross"))  # fmt: skip
    at = opened(app, "views/explore.py", precision="w2", layers="True")
    assert "2-bit weights (simulated)" in offered(at, "precision") and offered(at, "backend") == ["PyTorch"]
    params = layer_plan_params(at)
    assert metrics(at)["Weight bytes"] == text.file_size(-(-params * 2 // 8))
    press_run(at)
    assert asked[0].spec.precision.name == "w2"
    one = record("9", method="svd")
    one = replace(one, spec=asked[0].spec)
    RunStore(filled).put(one)
    assert "W2 (simulated)" in words(opened(app, "views/explore.py", run=one.run_id))
    drawn = {t.name for t in tradeoff_figure(tradeoff_info([one])).data}
    assert "W2 (simulated)" in drawn


def layer_plan_params(at: AppTest) -> int:
    """Of the plan on the page: the rows of its table, and what is in no layer."""
    table = at.dataframe[-1].value
    return int(table["planned"].sum()) + layer_table().params - int(table["params"].sum())


def test_a_new_method_is_chosen_planned_and_drawn(
    app: str, asked: list[Request], filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = dataclasses.replace(
        SVD, name="toy", label="Toy", text="Toy", look=Look("#123456", "#654321"), rank_names=("toy rank",)
    )  # fmt: skip
    monkeypatch.setitem(METHODS, "toy", toy)
    at = opened(app, "views/explore.py", method="toy", calibrated="False")
    assert "Toy" in offered(at, "method")
    assert any(s.label.startswith("toy rank (of ") for s in at.slider)
    press_run(at)
    assert asked[0].spec.method == "toy"
    one = replace(record("9", method="svd"), spec=asked[0].spec)
    RunStore(filled).put(one)
    assert "**Toy, ratio 2, FP32, PyTorch**" in words(opened(app, "views/explore.py", run=one.run_id))
    keys = {t.name: t.marker.color for t in tradeoff_figure(tradeoff_info([one])).data if t.x == (None,)}
    assert keys["Toy"] == "#123456"


def test_a_new_policy_is_chosen_and_explained(app: str, asked: list[Request], monkeypatch: pytest.MonkeyPatch) -> None:
    row = Policy(name="toy", label="by a toy", help="a toy decides", by_ladder=True)
    monkeypatch.setitem(POLICIES, "toy", row)
    monkeypatch.setitem(policies.SHARERS, "toy", policies.SHARERS["uniform"])
    at = opened(app, "views/explore.py", policy="toy")
    assert "by a toy" in offered(at, "policy") and "By a toy: a toy decides." in control(at, "policy").help
    press_run(at)
    assert asked[0].spec.rule == RankRule("ratio", 2.0, policy="toy")


def test_a_new_granularity_is_a_choice_wherever_there_is_one(
    app: str, filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tdq_core.specs.choices import GRANULARITIES

    monkeypatch.setitem(GRANULARITIES, "block", Choice(name="block", label="one scale per block"))
    assert "one scale per block" in offered(opened(app, "views/explore.py", precision="int8"), "granularity")
    one = record("9", method="svd", precision="int8")
    one = replace(one, spec=one.spec.changed(granularity="block"))
    assert "one scale per block" in text.treatment(one.spec)
    assert "heavy edge: scale per block" in {t.name for t in tradeoff_figure(tradeoff_info([one])).data}


def test_a_new_page_is_a_row_and_a_file(
    app: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, filled: Path
) -> None:
    from dashboard import pages

    file = tmp_path / "toy.py"
    file.write_text("import streamlit as st\nst.title('A toy')\n")

    class Elsewhere(pages.Page):
        file = str(tmp_path / "toy.py")

    monkeypatch.setattr(pages, "PAGES", (*pages.PAGES, Elsewhere("toy", "Toy", ":material/toys:")))
    at = opened(app, "views/explore.py")
    at.switch_page(str(file)).run()
    assert not at.exception and [t.value for t in at.title] == ["Toy", "A toy"], "beneath the head of all pages"


def test_ranks_by_hand_are_one_of_the_rules() -> None:
    from tdq_core.specs.choices import RULES

    assert MANUAL in RULES and next(iter(RULES)) == "ratio"
