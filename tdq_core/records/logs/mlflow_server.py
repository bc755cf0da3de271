"""Runs in MLflow: parameters, metrics, tags and artefacts as its users expect them. No torch here."""

import os
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from tdq_core.errors import InputError, NotNow
from tdq_core.records.record import RunRecord
from tdq_core.records.table import method_text, ranks_text, row
from tdq_core.specs.command import command_line
from tdq_core.system.extras import install_command

EXPERIMENT = "tdq"
"""The experiment where no other is named by MLFLOW_EXPERIMENT_NAME."""
TAG = "tdq.run_id"
_SETTINGS = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}
"""Unless the environment says otherwise: nobody is told what is measured here, and a server that is not there is not
asked for minutes."""
_LONGEST = 500
"""Characters of a parameter: what the oldest servers take."""
_METRICS = (
    "top1", "top1_low", "top1_high", "drop", "drop_low", "drop_high", "baseline_top1", "n", "params", "macs", "bytes",
    "compression_ratio", "bytes_ratio", "latency_ms",
)  # fmt: skip


class MLflowLog:
    """One MLflow run for each run, in one experiment; what is there already, complete, is not written again."""

    def __init__(self, uri: str | None) -> None:
        for name, usual in _SETTINGS.items():
            os.environ.setdefault(name, usual)
        try:
            from mlflow import MlflowClient
        except ImportError as error:
            raise InputError(
                f"A log for MLflow needs mlflow-skinny, not installed here: {install_command('mlflow')}."
            ) from error
        try:
            self.client: Any = MlflowClient(tracking_uri=uri)
            self.experiment = self._experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT)
        except Exception as error:
            where = f"at '{uri}'" if uri else "(MLFLOW_TRACKING_URI, or its own default)"
            raise InputError(f"MLflow {where} does not answer: {_said(error)}") from error

    def _experiment(self, name: str) -> str:
        found = self.client.get_experiment_by_name(name)
        return str(found.experiment_id if found else self.client.create_experiment(name))

    def add(self, records: Sequence[RunRecord], files: Path | None) -> None:
        try:
            for record in records:
                if not self._is_there(record):
                    self._write(record, files)
        except Exception as error:
            raise NotNow(_said(error)) from error

    def _is_there(self, record: RunRecord) -> bool:
        found = self.client.search_runs(
            [self.experiment], f"tags.`{TAG}` = '{record.run_id}' and attributes.status = 'FINISHED'", max_results=1
        )
        return bool(found)

    def _write(self, record: RunRecord, files: Path | None) -> None:
        from mlflow.entities import Metric, Param, RunTag

        ended = _milliseconds(record)
        took = sum(record.provenance.get("seconds", {}).values())
        run = self.client.create_run(
            self.experiment, start_time=ended - int(1000 * took), run_name=_name(record), tags={TAG: record.run_id}
        )
        self.client.log_batch(
            run.info.run_id,
            metrics=[Metric(name, value, ended, 0) for name, value in _metrics(record)],
            params=[Param(name, text[:_LONGEST]) for name, text in _params(record)],
            tags=[RunTag(name, text) for name, text in _tags(record)],
        )
        self.client.log_text(run.info.run_id, record.to_json(), "record.json")
        if files is not None:
            self.client.log_artifacts(run.info.run_id, str(files), "export")
        status = "FINISHED" if record.state == "complete" else "FAILED"
        self.client.set_terminated(run.info.run_id, status, ended)


def _name(record: RunRecord) -> str:
    numbers = record.spec.precision
    parts = (record.spec.model.name, method_text(record.spec), ranks_text(record.spec), numbers.name, numbers.backend)
    return ", ".join(filter(None, parts))


def _metrics(record: RunRecord) -> Iterator[tuple[str, float]]:
    cells = row(record)
    for name in _METRICS:
        if cells[name] is not None:
            yield name, float(cells[name])
    for stage, seconds in record.provenance.get("seconds", {}).items():
        yield f"seconds.{stage.replace(' ', '_')}", float(seconds)


def _params(record: RunRecord) -> Iterator[tuple[str, str]]:
    for name, value in record.spec.to_dict().items():
        if name == "rule":
            yield "ranks", ranks_text(record.spec) or "none"
        elif value is not None:
            yield name, str(value)


def _tags(record: RunRecord) -> Iterator[tuple[str, str]]:
    yield "mlflow.source.name", "tdq"
    yield "tdq.state", record.state
    yield "tdq.command", command_line(record.spec)
    yield from ((f"tdq.digest.{role}", digest) for role, digest in sorted(record.digests.items()))
    if record.notes:
        yield "mlflow.note.content", "\n\n".join(record.notes)
    if record.reason:
        yield "tdq.reason", record.reason


def _milliseconds(record: RunRecord) -> int:
    """When it was measured, in milliseconds since 1970; now, where that is not told."""
    try:
        return int(1000 * datetime.fromisoformat(str(record.provenance.get("time"))).timestamp())
    except ValueError:
        return int(1000 * time.time())


def _said(error: Exception) -> str:
    return str(error).split("\n")[0][:300] or type(error).__name__
