"""A run's card: export it, take the file away, time it, and read where the time goes."""

import zipfile
from io import BytesIO
from pathlib import Path

import pytest
from made_up import four_cells
from streamlit.testing.v1 import AppTest

from dashboard.facts.subject import placed
from dashboard.panels.exports import _zipped
from dashboard.words.speed import layer_rows, race_rows, taken, verdicts
from tdq_core.jobs import queue as jobs
from tdq_core.jobs.queue import Request
from tdq_core.pipeline.exports.told import Seen, Told, export_folder
from tdq_core.pipeline.speed.record import SPEEDS, LayerTime, Profile, Race, Ratio, Speed, Timing
from tdq_core.records.store import Store
from tdq_core.specs import RunSpec
from tdq_core.specs.formats import formats_of
from tdq_core.specs.preprocessing import Preprocessing

SHOWN = four_cells()[0]


def opened(app: str, run_id: str) -> AppTest:
    at = AppTest.from_file(app, default_timeout=60)
    at.query_params["run"] = run_id
    at.run()
    assert not at.exception, at.exception[0].stack_trace
    return at


def words(at: AppTest) -> str:
    return "\n".join(str(each.value) for each in (*at.markdown, *at.caption))


def race(low: float, high: float, **fields: object) -> Race:
    own = Timing(median_ms=2.0, q1_ms=1.9, q3_ms=2.1)
    ratio = Ratio(median=(low + high) / 2, low=low, high=high, q1=low, q3=high)
    known = {"backend": "onnxruntime", "precision": "int8", "batch": 1, "threads": 1, "rounds": 15, "run": own}
    return Race(**known | {"rivals": {"dense": own}, "ratios": {"dense": ratio}} | fields)  # type: ignore[arg-type]


def speed(run_id: str, *races: Race) -> Speed:
    slower = Ratio(median=0.5, low=0.4, high=0.6, q1=0.4, q3=0.6)
    layer = LayerTime(name="block1.conv1", method="tucker2", dense_ms=1.0, ms=2.0, ratio=slower, dense_params=9,
                      params=5, dense_macs=90, macs=50, dense_bytes=36, bytes=20, parts={"core": 2.0})  # fmt: skip
    told = Profile(precision="int8", batch=1, passes=20, layers=(layer,), rest={"Add": 0.5}, dense_rest={"Relu": 0.1})
    return Speed(run_id=run_id, races=races, profile=told, load=0.4, machine={"cpu": "a CPU"}, time="now")


def test_each_race_has_a_verdict_in_words() -> None:
    found = verdicts(speed("a" * 16, race(0.4, 0.6), race(1.1, 1.3, batch=16), race(0.9, 1.1, threads=2)), SHOWN)
    assert "0.50x as fast as dense [0.40, 0.60]: " in found[0] and "1 thread:" in found[0]
    smaller = SHOWN.metrics is not None and SHOWN.metrics.compression_ratio > 1
    assert found[0].endswith("**smaller but slower**" if smaller else ": slower")
    assert found[1].endswith("faster") and "batch 16" in found[1]
    assert found[2].endswith("nobody can tell, the spread is too wide") and "2 threads" in found[2]


def test_times_taken_after_other_networks_say_so() -> None:
    cold, own = race(0.4, 0.6), race(0.4, 0.6, settled=True)
    assert "time it again" in taken(speed("a" * 16, own, cold))
    assert "time it again" not in taken(speed("a" * 16, own))


def test_the_table_has_every_layer_and_what_lies_between() -> None:
    told = speed("a" * 16, race(0.4, 0.6))
    assert told.profile
    rows = layer_rows(told.profile)
    assert [row["layer"] for row in rows] == ["block1.conv1", "(Add)", "(Relu)"]
    assert rows[0]["verdict"] == "smaller but slower" and rows[2]["ms"] == 0.0
    assert [row["verdict"] for row in race_rows(told)] == ["slower"]


def test_what_was_timed_is_shown(app: str, filled: Path) -> None:
    told = speed(SHOWN.run_id, race(0.4, 0.6))
    Store(SPEEDS, filled).put(told)
    at = opened(app, SHOWN.run_id)
    assert all(sentence in words(at) for sentence in verdicts(told, SHOWN))
    assert any("layer" in frame.value and "block1.conv1" in set(frame.value["layer"]) for frame in at.dataframe)
    Path(filled / "speed" / f"{SHOWN.run_id}.json").write_text("{")
    at = opened(app, SHOWN.run_id)
    assert any("cannot be read" in each.value for each in at.warning), "and the rest of the page works"


def test_buttons_ask_for_jobs_on_this_run(app: str, filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Request] = []

    def submit(request: Request) -> jobs.Job:
        asked.append(request)
        return jobs.Job(filled / "jobs" / "none")

    monkeypatch.setattr(jobs, "submit", submit)
    at = opened(app, SHOWN.run_id)
    at.button(key=f"bench-{SHOWN.run_id}").click().run()
    at = opened(app, SHOWN.run_id)
    at.button(key=f"export-{SHOWN.run_id}").click().run()
    kinds = [(request.kind, request.run_id, request.format) for request in asked]
    assert kinds == [("bench", SHOWN.run_id, ""), ("export", SHOWN.run_id, formats_of(SHOWN.spec)[0].name)]
    assert all(request.spec == SHOWN.spec and Request.from_json(request.to_json()) == request for request in asked)


def told_of(folder: Path) -> Told:
    seen = Seen(source="digits", digest="0" * 64, n=8, samples=None, seed=0, outcomes=SHOWN.metrics.outcomes)  # type: ignore[union-attr]
    return Told(
        format="onnx", file="model.fp32.onnx", sha256="0" * 64, bytes=1000, model="digits_resnet", precision="fp32",
        preprocessing=Preprocessing((8, 8), (0.3,), (0.4,)), logits=((0.0, 1.0), (1.0, 0.0)), spread=1.0,
        images=seen if SHOWN.metrics and SHOWN.metrics.n == 8 else None, run_id=SHOWN.run_id,
        lowest_runtime="onnxruntime 1.17", params=1, macs=1, settings="", made_with={},
    )  # fmt: skip


def test_an_export_is_offered_with_its_card(app: str, filled: Path) -> None:
    folder = export_folder(SHOWN.run_id, "onnx")
    folder.mkdir(parents=True)
    (folder / "export.json").write_text(told_of(folder).to_json())
    (folder / "model.fp32.onnx").write_bytes(b"graph")
    at = opened(app, SHOWN.run_id)
    assert "read by onnxruntime 1.17 and later" in words(at)
    with zipfile.ZipFile(BytesIO(_zipped(folder)())) as packed:
        assert packed.read(f"{folder.name}/model.fp32.onnx") == b"graph" and len(packed.namelist()) == 2
    (folder / "export.json").write_text("{")
    assert "read by" not in words(opened(app, SHOWN.run_id)), "and it can be written again"


def test_images_are_looked_for_where_they_lie_here() -> None:
    run, here = RunSpec.of("a", "cifar10-jpeg:/there"), RunSpec.of("a", "cifar10-jpeg:/here")
    assert placed(run, here).images.data == "cifar10-jpeg:/here"
    assert placed(run, RunSpec.of("a", "digits")) == run
    own = RunSpec.of("a", "given in Python (eval)")
    assert placed(own, here) == own
