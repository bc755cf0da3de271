"""Logs for others' tools say what the records say, keep what they hold, and are asked before the work begins."""

import csv
import io
import sys
from types import ModuleType, SimpleNamespace

import pandas as pd
import pytest

from tdq_core.cli.sweep import _logged
from tdq_core.errors import InputError
from tdq_core.records.logs import logging_to, open_log
from tdq_core.records.store import RunStore, shipped_folder
from tdq_core.records.table import COLUMNS, row, to_csv
from tdq_core.sweeps.watch import UNWATCHED, Watch

RECORDS = [r for r in RunStore(shipped_folder()).all() if r.spec.model.name == "digits_resnet"][:6]


def test_a_csv_log_is_the_table_of_tdq_csv_and_grows(tmp_path):
    path = tmp_path / "runs.csv"
    for some in (RECORDS[:2], RECORDS[1:4]):  # one of them is told again
        with logging_to([f"csv:{path}"]) as keep:
            assert keep(some) == ()
    assert path.read_text() == to_csv(RECORDS[:4])
    assert pd.read_csv(path)["run_id"].tolist() == [r.run_id for r in RECORDS[:4]]


def test_a_parquet_log_has_types_and_full_precision_and_grows(tmp_path):
    path = tmp_path / "runs.parquet"
    for some in (RECORDS[:2], RECORDS[1:4]):
        open_log(f"parquet:{path}").add(some, None)
    frame = pd.read_parquet(path)
    assert list(frame.columns) == list(COLUMNS) and frame["run_id"].tolist() == [r.run_id for r in RECORDS[:4]]
    assert frame["top1"].tolist() == [r.metrics.top1 for r in RECORDS[:4]] and frame["bytes"].dtype == "int64"
    assert frame["calibrated"].dtype == bool and frame["latency_ms"].dtype == float


def test_every_column_has_the_type_of_its_values(tmp_path):
    open_log(f"parquet:{tmp_path / 'all.parquet'}").add(RECORDS, None)
    found = pd.read_parquet(tmp_path / "all.parquet").astype(object).to_dict("records")
    for cells, record in zip(found, RECORDS, strict=True):
        for name, value in row(record).items():
            assert value is None or (cells[name] == value and isinstance(value, str) == isinstance(cells[name], str)), (
                name
            )


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize(
    "content", [b"a,b\n1,2\n", b"PAR1 but no more", b"\xff\xfe", b",".join([b"run_id"] * 35) + b"\n1"]
)
def test_a_file_that_is_no_log_is_left_as_it_is(tmp_path, kind, content):
    (path := tmp_path / "mine").write_bytes(content)
    with pytest.raises(InputError, match=r"'.*mine' (cannot be read|is not one of TDQ's).*Name another file\.$"):
        open_log(f"{kind}:{path}")
    assert path.read_bytes() == content


def test_a_sweep_tells_its_logs_of_each_run_as_it_comes_until_one_fails(tmp_path):
    seen: list[str] = []
    watch = Watch(on_record=lambda record, seconds, not_kept: seen.append(record.run_id))
    with logging_to([f"csv:{tmp_path / 'log.csv'}"]) as keep:
        logged = _logged(watch, keep)
        for count, record in enumerate(RECORDS[:3], 1):
            logged.on_record(record, 1.0, "")
            assert len(pd.read_csv(tmp_path / "log.csv")) == count
    assert seen == [r.run_id for r in RECORDS[:3]]
    asked: list[str] = []
    dead = _logged(UNWATCHED, lambda records, files=None: (asked.append(records[0].run_id), ("it is gone",))[1])
    for record in RECORDS[:3]:
        dead.on_record(record, 1.0, "")
    assert asked == [RECORDS[0].run_id]


@pytest.mark.parametrize("text", ["", "csv", "csv:", "tsv:x", "mlflow:", "parquet:", "xml"])
def test_a_log_that_is_none_is_told_with_those_that_are(text):
    with pytest.raises(InputError, match=r"A '--log' is 'csv:FILE'.*Got"):
        open_log(text)


def test_what_a_log_lacks_is_said_before_the_work(tmp_path, monkeypatch, tdq):
    run = ("run", "--model", "digits_resnet", "--data", "digits", "--log")
    done = tdq(*run, f"csv:{tmp_path}")
    assert done.returncode == 2 and "is a folder" in done.stderr and not done.stdout
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "needs pyarrow, not installed here: pip install" in tdq(*run, "parquet:x").stderr
    monkeypatch.setitem(sys.modules, "mlflow", None)
    assert "needs mlflow-skinny, not installed here: pip install 'tdq[mlflow]'" in tdq(*run, "mlflow").stderr


def test_a_run_is_logged_whether_it_is_measured_or_known(tmp_path, tdq):
    done = tdq("run", "--model", "digits_resnet", "--data", "digits", "--log", "csv:a.csv", "--log", "csv:b.csv")
    assert done.returncode == 0
    assert (tmp_path / "a.csv").read_text() == (tmp_path / "b.csv").read_text()
    (cells,) = csv.DictReader(io.StringIO((tmp_path / "a.csv").read_text()))
    assert cells["method"] == "none" and cells["state"] == "complete"


class FakeServer:
    """What the client of MLflow is asked for."""

    def __init__(self, tracking_uri):
        if tracking_uri == "http://nobody":
            raise ConnectionError("no route\nto it")
        self.runs, self.ended, self.files = [], {}, {}

    def get_experiment_by_name(self, name):
        return None

    def create_experiment(self, name):
        return "1"

    def search_runs(self, experiments, asked, max_results):
        return [r for r in self.runs if r["tags"]["tdq.run_id"] in asked and self.ended[r["id"]] == "FINISHED"]

    def create_run(self, experiment, start_time, run_name, tags):
        self.runs.append({"id": len(self.runs), "name": run_name, "tags": dict(tags), "start": start_time})
        return SimpleNamespace(info=SimpleNamespace(run_id=len(self.runs) - 1))

    def log_batch(self, run, metrics, params, tags):
        self.runs[run] |= {"metrics": {m[0]: m[1] for m in metrics}, "params": dict(params)}
        self.runs[run]["tags"] |= dict(tags)

    def log_text(self, run, text, name):
        self.files[run, name] = text

    def log_artifacts(self, run, folder, name):
        self.files[run, name] = folder

    def set_terminated(self, run, status, when):
        self.ended[run] = status
        assert when >= self.runs[run]["start"]


@pytest.fixture
def mlflow(monkeypatch):
    package, entities = ModuleType("mlflow"), ModuleType("mlflow.entities")
    package.MlflowClient = FakeServer
    entities.Metric, entities.Param, entities.RunTag = (lambda *a: a), (lambda *a: a), (lambda *a: a)
    monkeypatch.setitem(sys.modules, "mlflow", package)
    monkeypatch.setitem(sys.modules, "mlflow.entities", entities)


def test_mlflow_is_told_of_each_run_once(mlflow, tmp_path):
    log = open_log("mlflow:http://there")
    log.add(RECORDS[:2], tmp_path)
    log.add(RECORDS[:3], None)
    assert [r["tags"]["tdq.run_id"] for r in log.client.runs] == [r.run_id for r in RECORDS[:3]]
    told, record = log.client.runs[0], RECORDS[0]
    assert told["metrics"]["top1"] == record.metrics.top1 and told["metrics"]["bytes"] == record.metrics.bytes
    assert told["params"]["precision"] == record.spec.precision.name and "rule" not in told["params"]
    assert told["tags"]["tdq.command"].startswith("tdq run --model digits_resnet")
    assert log.client.files[0, "record.json"] == record.to_json() and log.client.files[0, "export"] == str(tmp_path)
    assert set(log.client.ended.values()) == {"FINISHED"}


def test_a_server_that_is_not_there_is_one_sentence_and_one_that_goes_loses_no_run(mlflow, tdq, monkeypatch):
    run = ("run", "--model", "digits_resnet", "--data", "digits", "--log")
    done = tdq(*run, "mlflow:http://nobody")
    assert (done.returncode, done.stdout) == (2, "") and "'http://nobody' does not answer: no route" in done.stderr
    monkeypatch.setattr(FakeServer, "log_batch", lambda *given, **named: 1 / 0)
    done = tdq(*run, "mlflow:http://there")
    assert (
        done.returncode == 1 and "top-1" in done.stdout and "The log 'mlflow:http://there' was not told" in done.stderr
    )
