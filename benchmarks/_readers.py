"""What becomes of a file that was read: everything that shows, tells or plans with it, as one function a kind.

Each takes the bytes of a file and reads them as TDQ does; what is refused in a sentence is None, what is accepted is
used everywhere, and the value is returned. An error that is no sentence is a fault of TDQ's.
"""

import contextlib
import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks._by_hand import bits_of, ranks_of
from dashboard.facts.comparison import comparison
from dashboard.facts.groups import group_runs, left_out_text
from dashboard.facts.study_views import VIEWS, drawn_runs
from dashboard.figures.components import norm_bars, strip_figure
from dashboard.figures.recipe import recipe_figure
from dashboard.figures.tradeoff import tradeoff_info
from dashboard.words import text
from dashboard.words.components import costs, study_label, what_is_seen
from dashboard.words.recipe import command, recipe_label, rows, target_text
from dashboard.words.speed import layer_rows, race_rows, verdicts
from dashboard.words.study import network_rows
from tdq_core.analysis.components import STUDIES
from tdq_core.cli.bench import print_speed
from tdq_core.cli.records import _line, print_card
from tdq_core.errors import TDQError
from tdq_core.jobs.folder import Job, Request, read_progress
from tdq_core.jobs.queue import poll
from tdq_core.layers.table import LayerTable
from tdq_core.models.registry import _read_card
from tdq_core.pipeline.exports.card import write_card
from tdq_core.pipeline.exports.told import Told
from tdq_core.pipeline.speed.record import SPEEDS, Speed
from tdq_core.prediction.inverse import with_drop
from tdq_core.prediction.predictor import Predictor
from tdq_core.prediction.sensitivity import SENSITIVITIES, Sensitivities
from tdq_core.ranks.plan import make_plan
from tdq_core.recipes.report import RECIPES
from tdq_core.records.packing import pack, unpack
from tdq_core.records.record import RunRecord
from tdq_core.records.store import RUNS, Kind, Store
from tdq_core.records.table import to_csv
from tdq_core.specs import RankRule, RunSpec
from tdq_core.specs.command import command_line

_SWEEP = {"model": "digits_resnet", "data": "digits", "grid": [{"method": ["svd", "cp"], "ratio": [1.5, 2.0]}]}
SHIPPED = Path(__file__).resolve().parent.parent / "cached_runs"
MODEL = "digits_resnet"


class Reader(NamedTuple):
    """One kind of file: good ones to begin with, and reading one in a folder of its own."""

    good: Callable[[], list[dict[str, Any]]]
    read: Callable[[Path, bytes], Any]


def _shipped(folder: str, wanted: str, most: int) -> list[dict[str, Any]]:
    """The smallest shipped files of a kind that hold a text."""
    paths = sorted((SHIPPED / folder).glob("*.json"), key=lambda path: path.stat().st_size)
    return [json.loads(p.read_text()) for p in paths if wanted in p.read_text()][:most]


def _good_runs() -> list[dict[str, Any]]:
    found = _shipped("", f'"{MODEL}"', 1000)
    kinds = {(r["spec"]["method"], r["spec"]["precision"], r["metrics"]["latency"] is None): r for r in found[::-1]}
    return list(kinds.values())[:12]


def _stored(kind: Kind[Any], use: Callable[[Any], object]) -> Callable[[Path, bytes], Any]:
    def read(folder: Path, data: bytes) -> Any:
        store = Store(kind, folder)
        path = store.folders[0] / f"{_name(data)}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        found = store.found()
        path.unlink()
        assert len(found.values) + len(found.left_out) == 1, found
        for value in found.values:
            use(value)
        return found.values[0] if found.values else None

    return read


def _name(data: bytes) -> str:
    """The id that the content names, so that this is not what is wrong with it."""
    with contextlib.suppress(ValueError, RecursionError, AttributeError, TypeError, StopIteration):
        plain = json.loads(data)
        names = (plain.get(name) for name in ("run_id", "study_id", "recipe_id", "sensitivity_id"))
        return next(n for n in names if isinstance(n, str) and len(n) == 16 and set(n) <= set("0123456789abcdef"))
    return "0" * 16


def use_run(record: RunRecord) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        print_card(record)
    _line(record)
    to_csv([record])
    assert RunRecord.from_dict(json.loads(record.to_json())) == record
    with contextlib.suppress(UnicodeError, OverflowError):
        assert unpack(pack(record)) == record
    command_line(record.spec)
    text.treatment(record.spec), text.run_label(record)
    for group in group_runs([record]):
        left_out_text(group, [record])
        if group.complete:
            comparison(list(group.complete))
            tradeoff_info(group.complete, chosen=record.run_id, span=0.05)
    for view in VIEWS:
        drawn_runs(view, [record])


def use_study(study: Any) -> None:
    study_label(study)
    for layer in study.layers:
        what_is_seen(layer), costs(study, layer), norm_bars(layer)
    strip_figure(study, study.layers[0].name)
    study.to_json()


def use_recipe(report: Any) -> None:
    recipe_label(report), target_text(report), rows(report), command(report), recipe_figure(report)
    report.to_json()


def _table(folder: Path, data: bytes) -> Any:
    (folder / "table.json").write_bytes(data)
    try:
        table = LayerTable.read(folder / "table.json")
    except TDQError:
        return None
    for layer in table.layers:
        _ = layer.shape_text, layer.params, layer.macs
    for method, rule in (
        ("tucker2", RankRule("ratio", 2.0)),
        ("svd", RankRule("energy", 0.9)),
        ("cp", RankRule("vbmf", 1.0)),
    ):
        with contextlib.suppress(TDQError):
            str(make_plan(table, method, rule))
    table.to_json()
    return table


def _request(folder: Path, data: bytes) -> Any:
    (folder / "request.json").write_bytes(data)
    try:
        request = Job(folder).request
    except TDQError:
        return None
    text.treatment(request.spec)
    assert Request.from_json(request.to_json()) == request
    return request


def _result(folder: Path, data: bytes) -> Any:
    (folder / "result.json").write_bytes(data)
    state = poll(Job(folder))
    assert state.state != "lost" or state.reason is not None or b"lost" in data
    return None if state.state == "lost" else state


def _progress(folder: Path, data: bytes) -> Any:
    (folder / "progress.jsonl").write_bytes(b'{"stage": "start", "done": 0, "total": 0, "time": 1.0}\n' + data)
    progress = read_progress(folder / "progress.jsonl")
    assert progress, "the first line is whole"
    return progress if progress.latest.stage != "start" else None


def use_speed(speed: Any) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        print_speed(speed)
    record = RunRecord.from_dict(_good_runs()[0])
    verdicts(speed, record), race_rows(speed), layer_rows(speed.profile) if speed.profile else None
    assert Speed.from_dict(json.loads(speed.to_json())) == speed


def _good_speed() -> dict[str, Any]:
    time, ratio = {"median_ms": 2.0, "q1_ms": 1.0, "q3_ms": 3.0}, {"median": 2.0, "low": 1.0, "high": 3.0}
    race = {"backend": "onnxruntime", "precision": "int8", "batch": 1, "threads": 1, "rounds": 15, "run": time,
            "rivals": {"dense": time}, "ratios": {"dense": ratio | {"q1": 1.0, "q3": 3.0}}}  # fmt: skip
    layer = {"name": "stem.0", "method": "svd", "dense_ms": 1.0, "ms": None, "ratio": None, "dense_params": 9,
             "params": 5, "dense_macs": 9, "macs": 5, "dense_bytes": 9, "bytes": 5, "parts": {"a": 1.0}}  # fmt: skip
    told = {"precision": "int8", "batch": 1, "passes": 20, "layers": [layer], "rest": {"Add": 0.1}, "dense_rest": {}}
    return {"run_id": "a" * 16, "races": [race], "profile": told, "load": 0.5, "machine": {"cpu": "x"}, "time": "now",
            "notes": ["a note"], "schema": 1}  # fmt: skip


def _export(folder: Path, data: bytes) -> Any:
    (folder / "export.json").write_bytes(data)
    try:
        told = Told.read(folder)
    except TDQError:
        return None
    for record in (None, RunRecord.from_dict(_good_runs()[0])):
        write_card(folder, told, record, notes=["a note"])
    assert told.images is None or 0 <= told.images.score()[0] <= 1
    return told


def _good_export() -> dict[str, Any]:
    seen = {"source": "digits", "digest": "0" * 64, "n": 8, "samples": None, "seed": 0, "outcomes": "/w=="}
    seen_as = {"input_size": [8, 8], "mean": [0.3], "std": [0.4], "resize": None}
    return {"format": "onnx", "file": "model.fp32.onnx", "sha256": "0" * 64, "bytes": 9, "model": MODEL,
            "precision": "fp32", "preprocessing": seen_as, "logits": [[0.0, 1.0], [1.0, 0.5]], "spread": 1.0,
            "images": seen, "run_id": "a" * 16, "lowest_runtime": "onnxruntime 1.17", "params": 1, "macs": 1,
            "settings": "tdq run", "made_with": {"versions": {"tdq": "1"}, "cpu": "x"}, "schema": 1}  # fmt: skip


def _card(folder: Path, data: bytes) -> Any:
    (folder / "card.json").write_bytes(data)
    try:
        entry = _read_card(folder / "card.json")
    except TDQError:
        return None
    assert entry
    network_rows({"resnet18_cifar10": entry.card}, {})
    return entry


_WAYS = (("tucker2", "predicted", True), ("cp", "predicted", False), ("svd", "uniform", True))


def use_sensitivities(found: Sensitivities) -> None:
    predictor = Predictor(found)
    for method, policy, calibrated in (
        ("tucker2", "predicted", True),
        ("cp", "predicted", False),
        ("svd", "uniform", True),
    ):
        spec = found.spec.changed(method=method, calibrated=calibrated, precision="w4a8",
                                  rule=RankRule("ratio", 1.5, policy=policy))  # fmt: skip
        with contextlib.suppress(TDQError):
            plan = make_plan(predictor.table(spec), method, spec.rule, spec.precision)
            assert math.isfinite(predictor.predict(spec, plan.layers, images=100).drop or 0.0)
        with contextlib.suppress(TDQError):
            with_drop(predictor, spec, 0.02)
    assert Sensitivities.from_dict(json.loads(found.to_json())) == found


def _good_sensitivities() -> dict[str, Any]:
    """A small one: two layers of the embedded network."""
    table = json.loads(next((SHIPPED / "layers").glob(f"{MODEL}-*.json")).read_text())
    table.pop("schema")
    point = [{"ranks": [4], "error": 3.0, "change": 0.2}, {"ranks": [9], "error": 1.2, "change": 0.01}]
    both = [{"ranks": [4, 4], "error": 0.9, "change": 0.2}, {"ranks": [9, 9], "error": 0.1, "change": 0.01}]
    rounding = dict.fromkeys(("w4", "w3", "w2", "a6", "a4"), 0.01)
    layer = {
        "fits": {"cp+epc": {"outputs": point, "weights": point}, "tucker2": {"outputs": both, "weights": both}},
        "rounding": dict.fromkeys(("dense", "cp", "cp+epc", "tucker2"), rounding),
    }
    flips = [{"change": 0.01, "changed": 0.01, "lost": 0.001}, {"change": 0.5, "changed": 0.4, "lost": 0.3}]
    return {"schema": 1, "sensitivity_id": "a" * 16, "spec": RunSpec.of(MODEL, "digits").to_dict(), "images": 64,
            "digests": {"model": "0" * 64, "calib": "1" * 64}, "tables": {"outputs": table, "weights": table},
            "layers": {"block1.conv1.0": layer, "block3.conv2.0": layer}, "flips": flips,
            "provenance": {"cpu": "x"}}  # fmt: skip


READERS: dict[str, Reader] = {
    "record": Reader(_good_runs, _stored(RUNS, use_run)),
    "study": Reader(lambda: _shipped("components", '"study_id"', 1), _stored(STUDIES, use_study)),
    "recipe": Reader(lambda: _shipped("recipes", "", 1), _stored(RECIPES, use_recipe)),
    "timing": Reader(lambda: [_good_speed()], _stored(SPEEDS, use_speed)),
    "sensitivities": Reader(lambda: [_good_sensitivities()], _stored(SENSITIVITIES, use_sensitivities)),
    "export": Reader(lambda: [_good_export()], _export),
    "layer table": Reader(lambda: _shipped("layers", MODEL, 1), _table),
    "ranks": Reader(lambda: [{"block1.conv1.0": 8, "block1.conv2.0": [4, 5], "head": None}], ranks_of),
    "bits": Reader(lambda: [{"*": 4, "block1.*": 3, "block2.conv1.0": 6, "head": 8}], bits_of),
    "job's request": Reader(
        lambda: [
            json.loads(Request(kind="recipe", spec=RunSpec.of(MODEL, "digits"), target="drop<=1%").to_json()),
            json.loads(Request(kind="export", spec=RunSpec.of(MODEL, "digits"), run_id="a", format="onnx").to_json()),
            json.loads(Request(kind="sweep", spec=RunSpec.of(MODEL, "digits"), sweep=_SWEEP).to_json()),
            json.loads(Request(kind="run", spec=RunSpec.from_dict(_good_runs()[-1]["spec"])).to_json()),
        ],
        _request,
    ),
    "job's result": Reader(
        lambda: [{"state": "done", "time": 5.0, "reason": None, "run_id": "a" * 16, "reused": False}], _result
    ),
    "job's progress": Reader(lambda: [{"stage": "evaluate", "done": 1, "total": 2, "time": 5.0}], _progress),
    "card": Reader(
        lambda: [json.loads((SHIPPED.parent / "tdq_core/models/weights/resnet18_cifar10.json").read_text())], _card
    ),
}
