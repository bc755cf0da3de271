"""Recipes by time: what is asked for, that nothing slower than dense INT8 is chosen, and what is handed on."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from msgspec import structs
from test_recipe import PLAIN, record
from typer.testing import CliRunner

import tdq_core as tdq
from tdq_core.cli import app
from tdq_core.errors import InputError, RunFailed
from tdq_core.jobs.folder import Request
from tdq_core.layers.times import FormTime, Grid
from tdq_core.pipeline.run import Outcome
from tdq_core.pipeline.speed.record import Race, Ratio, Timing
from tdq_core.recipes import handing_on, search
from tdq_core.recipes.by_time import ByTime, answer, next_to_race
from tdq_core.recipes.candidates import FAST, SPEEDS
from tdq_core.recipes.choices import Pick, best_first, pick
from tdq_core.recipes.handing_on import NAME, hand_on, not_handed_on, require_empty
from tdq_core.recipes.report import RECIPES, Report, write_up
from tdq_core.recipes.search import find_recipe
from tdq_core.recipes.target import Call, Target, call_of, parse_target
from tdq_core.records.record import LayerRecord, RunRecord
from tdq_core.records.store import Store
from tdq_core.specs import RunSpec
from tdq_core.specs.command import recipe_command

DROP = parse_target("drop<=2%")


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TDQ_RUNS", str(tmp_path))


def race(times: float, ms: float = 1.0) -> Race:
    """A run that is `times` as fast as dense INT8, a tenth either way."""
    timing = Timing(median_ms=ms, q1_ms=ms, q3_ms=ms)
    ratio = Ratio(median=times, low=0.9 * times, high=1.1 * times, q1=times, q3=times)
    return Race(backend="onnxruntime", precision="int8", batch=1, threads=1, rounds=15, run=timing,
                rivals={"dense": timing}, ratios={"dense": ratio})  # fmt: skip


def tried(arm: str, told_ms: float, size: int, lost: int = 0, target: Target = DROP) -> Pick:
    """A run of 1,000 images that has lost so many of those that choices look at."""
    found = record(list(range(0, 2 * lost, 2)), n=1000, size=size)
    return pick(found, arm, None if arm == "dense" else 2.0, target, told_ms=told_ms)


@pytest.mark.parametrize(
    ("target", "asked", "call"),
    [("drop<=1%", {}, None), ("drop<=1%", {"least": "size"}, None), ("ratio>=4", {}, None), ("latency<=5ms", {}, None),
     ("drop<=1%", {"least": "latency"}, Call()), ("drop<=1%", {"least": "latency", "batch": 16}, Call(batch=16)),
     ("latency<=5ms", {"batch": 1}, Call()), ("latency<=5ms", {"threads": 2}, Call(threads=2))],
)  # fmt: skip
def test_what_is_asked_for_says_whose_time_is_gone_by(target: str, asked: dict, call: Call | None) -> None:
    wanted = parse_target(target)
    assert call_of(wanted, **asked) == call
    words = call.words(wanted) if call else ()
    command = recipe_command(PLAIN, target, 0, words)
    assert ("--least latency" in command) == (asked.get("least") == "latency")
    assert ("--batch" in command) == (bool(call) and (target[0] == "l" or asked.get("batch", 1) != 1))


@pytest.mark.parametrize(
    ("target", "asked"),
    [("drop<=1%", {"least": "energy"}), ("ratio>=4", {"least": "latency"}), ("latency<=5ms", {"least": "size"}),
     ("drop<=1%", {"batch": 1}), ("drop<=1%", {"least": "size", "threads": 1}), ("ratio>=4", {"threads": 1}),
     ("latency<=5ms", {"batch": 0}), ("drop<=1%", {"least": "latency", "threads": 5000})],
)  # fmt: skip
def test_what_has_no_effect_is_one_sentence_before_any_work(target, asked, monkeypatch):
    monkeypatch.setattr(search, "find_recipe", lambda *a, **k: pytest.fail("nothing is done first"))
    options = [word for name, value in asked.items() for word in (f"--{name}", str(value))]
    done = CliRunner().invoke(app, ["recipe", "--model", "digits_resnet", "--data", "digits", "--target", target,
                                    *options])  # fmt: skip
    assert isinstance(done.exception, InputError) and "\n" not in str(done.exception)
    assert "ot " in str(done.exception), "what was given"
    with pytest.raises(InputError):
        tdq.recipe(PLAIN, target, **asked)


def test_threads_that_the_machine_does_not_have_are_refused_before_any_work(monkeypatch):
    monkeypatch.setattr(search, "measure_layers", lambda *a, **k: pytest.fail("nothing is timed first"))
    with pytest.raises(InputError, match="threads"):
        find_recipe(PLAIN, DROP, call=Call(threads=4000))


def test_a_request_carries_it_and_an_old_one_means_size() -> None:
    request = Request(kind="recipe", spec=PLAIN, target="drop<=1%", least="latency")
    assert Request.from_json(request.to_json()) == request
    old = {k: v for k, v in json.loads(request.to_json()).items() if k != "least"}
    assert Request.from_json(json.dumps(old)).least == ""
    with pytest.raises(InputError):
        Request(kind="recipe", spec=PLAIN, target="ratio>=4", least="latency")


def test_only_what_was_seen_to_be_faster_is_chosen_and_each_pipeline_is_timed_once() -> None:
    dense, slow = tried("dense", 2.0, 400), tried("tucker2", 3.0, 50)
    fast, faster, lossy = tried("mixed", 1.5, 80), tried("tucker2", 1.0, 90), tried("mixed", 0.5, 20, lost=100)
    ranked = best_first([dense, slow, fast, faster, lossy], DROP)
    assert ranked[:2] == [faster, fast] and ranked[-1] == lossy
    assert next_to_race(ranked, DROP, {}) == faster
    races = {faster.run_id: race(1.0)}
    assert next_to_race(ranked, DROP, races) == fast, "the first is not faster beyond the spread"
    races[fast.run_id] = race(1.4)
    assert next_to_race(ranked, DROP, races) is None and answer(ranked, DROP, races) == fast
    races[fast.run_id] = race(0.9)
    assert next_to_race(ranked, DROP, races) is None, "each pipeline once"
    assert next_to_race(best_first([dense, slow], DROP), DROP, {}) is None, "what is told to be slower is not timed"
    assert answer(ranked, DROP, races) == dense
    broken = [p for p in ranked if p.arm != "dense"] + [tried("dense", 2.0, 401, lost=200)]
    assert answer(broken, DROP, races) is None


def of_these(*picks: Pick, races: dict[str, Race], target: Target = DROP) -> Report:
    judged = [(p, record([], n=1000, size=int(p.run_id))) for p in picks]
    reference = pick(record([], n=1000, size=990), "fp32", None, target)
    return write_up(target, PLAIN, 0, reference, judged, ByTime(Call(), 12.3, races))


def test_where_nothing_is_faster_dense_int8_is_the_answer_and_says_so() -> None:
    dense, fast = tried("dense", 2.0, 400), tried("mixed", 1.5, 80)
    report = of_these(dense, fast, races={fast.run_id: race(1.0)})
    assert report.chosen == dense
    told = " ".join(report.sentences)
    assert "is faster than dense INT8, which takes 2 ms a call (batch 1, 1 thread" in told
    assert "'mixed' at ratio 2 was told 1.5 ms a call and, timed in turn, is not faster" in told
    assert "within reach of 'tucker2'" in told and "timed for this first, in 12 s" in told


def test_a_report_by_time_comes_back_and_one_by_size_is_written_as_before(tmp_path: Path) -> None:
    dense, fast = tried("dense", 2.0, 400), tried("mixed", 1.5, 80)
    report = of_these(dense, fast, races={fast.run_id: race(1.4)})
    assert report.chosen == fast and "1.40x [1.26, 1.54] as fast" in report.sentences[0]
    store = Store(RECIPES, tmp_path, tmp_path)
    assert store.read(store.put(report)) == report
    by_size = write_up(DROP, PLAIN, 0, report.reference, [(pick(r, "cp", 2.0, DROP), r)
                                                          for r in [record([], n=1000, size=80)]])  # fmt: skip
    plain = by_size.to_dict()
    assert not {"call", "layers_s", "races"} & set(plain) and "told_ms" not in plain["chosen"]
    assert by_size.recipe_id != report.recipe_id
    without = structs.replace(report, tried=tuple(structs.replace(p, told_ms=None) for p in report.tried))
    with pytest.raises(InputError, match="has none"):
        Report.from_dict(without.to_dict())


class Timed:
    """Stands for the pipeline: one layer that takes all the time; the drop grows with the speed."""

    def __init__(self, slowest: float = 1e9) -> None:
        self.specs: list[RunSpec] = []
        grid = Grid(1, ((1, 100),), (1_000, 10_000_000))
        self.times = SimpleNamespace(
            dense_ns=10_000_000, layers={"a": (FormTime("none", dense=10_000_000), *(
                FormTime(name, grids=(grid,)) for name in ("tucker2", "svd")))},
        )  # fmt: skip
        self.slowest = slowest

    def layers(self, spec: RunSpec, **asked: object) -> SimpleNamespace:
        assert (spec.precision.name, spec.precision.backend, spec.method) == ("int8", "onnxruntime", "none")
        return SimpleNamespace(times=self.times, reused=True)

    def run(self, spec: RunSpec, **_: object) -> Outcome:
        self.specs.append(spec)
        ratio = spec.rule.value if spec.rule else 1.0
        assert ratio is not None
        if ratio > 3.3:
            return Outcome(record([], state="refused"), False)
        found = record(list(range(0, 2 * round(2 * ratio), 2)), n=1000, size=round(900 / ratio + len(spec.method)),
                       ms=1.0)  # fmt: skip
        if not spec.rule:
            return Outcome(found, False)
        kept = LayerRecord(
            name="a", method="svd", ranks=(max(1, round(100 / ratio)),), rel_error=0.1, dense_params=10, params=5,
            dense_macs=10, macs=5, skipped_because=None,
        )  # fmt: skip
        return Outcome(structs.replace(found, layers=(kept,)), False)

    def race(self, record: RunRecord, settings: object, **_: object) -> list[Race]:
        assert record.spec == PLAIN and record.layers, "what was measured"
        return [race(min(2.0, self.slowest), ms=4.0)]


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> Timed:
    own = Timed()
    monkeypatch.setattr(search, "run", own.run)
    monkeypatch.setattr(search, "measure_layers", own.layers)
    monkeypatch.setattr(search, "against_dense", own.race)
    return own


def test_ratios_are_of_time_and_the_fastest_that_keeps_the_drop_is_chosen(timed: Timed) -> None:
    report = find_recipe(PLAIN, DROP, call=Call(batch=4))
    rules = [s.rule for s in timed.specs if s.rule]
    assert {(r.budget, r.batch, r.threads) for r in rules} == {("latency", 4, 1)}
    assert {r.value for r in rules} <= set(SPEEDS) and {p.arm for p in report.tried} == {
        "dense",
        *(a.name for a in FAST),
    }
    assert report.chosen and report.chosen.ratio == max(p.ratio for p in report.tried if p.met and p.ratio)
    assert report.chosen.told_ms == min(p.told_ms for p in report.tried if p.met)
    assert set(report.races) == {report.chosen.run_id} and report.study is None
    timed.slowest = 1.0
    again = find_recipe(PLAIN, DROP, call=Call(batch=4))
    assert again.chosen and again.chosen.arm == "dense" and again.recipe_id == report.recipe_id


def test_a_latency_by_the_layers_is_planned_at_once_and_verified_on_the_clock(timed: Timed) -> None:
    report = find_recipe(PLAIN, parse_target("latency<=5ms"), call=Call())
    assert {s.rule.value for s in timed.specs if s.rule} == {2.0}
    assert report.chosen and report.chosen.verified and report.chosen.told_ms <= 5.0
    missed = find_recipe(PLAIN, parse_target("latency<=3.5ms"), call=Call())
    assert missed.chosen and not missed.chosen.verified, "told, and timed at 4 ms: reported, not replaced"
    assert any("timed at 4 ms, it misses the target" in s for s in missed.sentences)
    assert any("timed at 4 ms, it meets the target" in s for s in report.sentences)
    assert "misses latency<=3.5ms" in str(not_handed_on(missed))
    dense = find_recipe(PLAIN, parse_target("latency<=11ms"), call=Call())
    assert dense.chosen and dense.chosen.arm == "dense" and len(dense.tried) == 1
    assert any("nothing is decomposed" in s for s in dense.sentences)


def test_what_misses_where_it_is_verified_is_not_handed_on(tmp_path: Path) -> None:
    target = parse_target("drop<=3%")
    lost = record(list(range(1, 101, 2)), n=1000)
    report = write_up(target, PLAIN, 0, pick(record([], n=1000, size=990), "fp32", None, target),
                      [(pick(lost, "cp", 2.0, target), lost)])  # fmt: skip
    with pytest.raises(RunFailed, match="misses drop<=3% where it was verified"):
        hand_on(report, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_with_an_export_is_refused_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "export.json").write_text("{}")
    with pytest.raises(InputError, match="holds an export already"):
        require_empty(tmp_path)
    monkeypatch.setattr(search, "find_recipe", lambda *a, **k: pytest.fail("nothing is measured first"))
    done = CliRunner().invoke(app, ["recipe", "--model", "digits_resnet", "--data", "digits", "--target", "drop<=1%",
                                    "--export", str(tmp_path)])  # fmt: skip
    assert isinstance(done.exception, InputError)


def test_python_exports_what_was_chosen_and_names_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="name it"):
        tdq.recipe(object(), "drop<=1%")  # type: ignore[arg-type]
    dense = tried("dense", 2.0, 400)
    report = of_these(dense, races={})
    monkeypatch.setattr("tdq_core.recipes.verb.find_recipe", lambda *a, **k: report)
    monkeypatch.setattr(handing_on.RunStore, "get", lambda self, name: record([], n=1000, size=400))
    monkeypatch.setattr(handing_on, "file_format", lambda spec: "onnx")
    monkeypatch.setattr(handing_on, "export_run", lambda found, spec, format, folder, **_: folder.mkdir())
    assert tdq.recipe(PLAIN, "drop<=2%", export=tmp_path / "out") == report
    assert Report.from_dict(json.loads((tmp_path / "out" / NAME).read_text())) == report
