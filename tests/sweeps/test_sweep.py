"""A sweep as people ask for it: on a real cluster once, and all that is said before it begins and when it stops."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec import structs

from tdq_core.cli import sweep as command
from tdq_core.errors import NotNow
from tdq_core.records.record import RunRecord
from tdq_core.records.store import RunStore, shipped_folder
from tdq_core.specs import RankRule, RunSpec
from tdq_core.system.signals import Stopped

PROJECT = Path(__file__).resolve().parents[2]
SHIPPED = 'model = "digits_resnet"\ndata = "digits"\nmethod = ["svd", "cp"]\nratio = [2, 3]\nepc = [false, true]\n'
MODEL = """
import os
from torch import nn
def net():
    if "/tdq-" in os.environ.get("TMPDIR", ""):  # in a measuring process
        os._exit(7)
    return nn.Sequential(nn.Flatten(), nn.Linear(256, 10))
"""
SCRIPT = """
import json, tdq_core as tdq
few = {"data": "digits", "samples": 40}
sizes = {"input_size": [16, 16], "mean": [0.5], "std": [0.5], "weights": "random"}
what = {**few, "grid": [
    {"model": "digits_resnet", "method": "svd", "ratio": [2.2, 900], "precision": ["fp32", "w8"]},
    {"model": "m.py:net", **sizes},
]}
first = tdq.sweep(what, workers=1, timeout=500)
again = tdq.sweep({**few, "model": "digits_resnet", "method": "svd", "ratio": 2.2})
print(json.dumps([[r.state, r.spec.precision.name, r.reason, r.provenance.get("threads")] for r in first]))
print(json.dumps([len(first), first.reused, first.complaints, len(again), again.reused]))
"""


def test_a_plain_script_measures_a_grid_on_a_cluster_of_its_own(tmp_path):
    """Without a guard around it. One run fails, others are refused, and none of them stops the rest."""
    (tmp_path / "m.py").write_text(MODEL)
    (tmp_path / "script.py").write_text(SCRIPT)
    place = {"TDQ_RUNS": str(tmp_path / "runs"), "PYTHONPATH": str(PROJECT), "TMPDIR": str(tmp_path / "tmp")}
    (tmp_path / "tmp").mkdir()
    done = subprocess.run([sys.executable, "script.py"], capture_output=True, text=True, cwd=tmp_path,
                          env=os.environ | place)  # fmt: skip
    assert done.returncode == 0, done.stderr
    found, counted = map(json.loads, done.stdout.splitlines())
    assert [cells[:2] for cells in found] == [
        ["complete", "fp32"], ["complete", "w8"], ["refused", "fp32"], ["refused", "w8"], ["failed", "fp32"],
    ]  # fmt: skip
    assert found[0][3] == 1 and "exit code 7" in found[4][2]
    assert counted == [5, 0, [], 1, 1]
    records = RunStore(tmp_path / "runs").all()
    assert len(records) == 6  # with the dense one, that drops are taken from
    left = [*(tmp_path / "tmp").glob("tdq-*"), *(tmp_path / "tmp").glob("dask-*"), *(tmp_path / "runs").rglob("*.tmp")]
    assert left == []


def test_what_is_measured_already_starts_nothing(tmp_path, tdq, monkeypatch):
    (tmp_path / "s.toml").write_text(SHIPPED.replace("ratio = [2, 3]", "ratio = [2, 3, 4]"))
    monkeypatch.setattr("tdq_core.sweeps.sweep._measure", None)
    done = tdq("sweep", "s.toml", "--log", "csv:log.csv")
    assert done.returncode == 0, done.stderr
    assert "9 runs: 9 were measured before and not again, 9 complete." in done.stdout
    assert "Left out: 3 combinations. The correction 'epc'" in done.stdout
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 10
    assert len(json.loads(tdq("sweep", "s.toml", "--json").stdout)["records"]) == 9


def test_a_dry_run_says_what_would_be_measured(tmp_path, tdq):
    (tmp_path / "s.toml").write_text(SHIPPED.replace("[2, 3]", "[2, 2.5]"))
    told = tdq("sweep", "s.toml", "--dry-run", "--workers", "2").stdout
    assert "6 runs: 3 are measured already" in told and "To measure: 3, in 3 tasks" in told and "on 2 workers" in told
    plan = json.loads(tdq("sweep", "s.toml", "--dry-run", "--json").stdout)
    assert (plan["runs"], plan["measured"], plan["to_measure"], len(plan["specs"])) == (6, 3, 3, 6)
    assert plan["seconds"] > 0 < plan["bytes"] and not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--workers", "0"), "'workers' must be at least 1. Got 0"),
        (("--timeout", "0"), "'timeout' must be above 0"),
        (("--timeout", "nan"), "'timeout' must be above 0"),
        (("--memory", "-1"), "'memory' must be above 0"),
        (("--resources", "GPU=1"), "give its scheduler too"),
        (("--resources", "GPU"), "'--resources' must be NAME=AMOUNT"),
        (("--scheduler", "tcp://h:1", "--resources", "=1"), "'--resources' must be NAME=AMOUNT"),
        (("--scheduler", "tcp://h:1", "--resources", "GPU=-1"), "amount of a resource"),
        (("--scheduler", "tcp://h:1", "--workers", "2"), "either workers or a scheduler"),
        (("--log", "xml"), "'--log' is"),
    ],
)
def test_what_cannot_be_done_is_said_before_any_work(tmp_path, tdq, options, told):
    (tmp_path / "s.toml").write_text(SHIPPED)
    done = tdq("sweep", "s.toml", *options)
    assert (done.returncode, done.stdout) == (2, "") and told in done.stderr and done.stderr.count("\n") == 1


def test_a_scheduler_that_is_not_there_is_one_sentence(tmp_path, tdq, monkeypatch):
    (tmp_path / "s.toml").write_text(SHIPPED.replace("[2, 3]", "2.75"))
    monkeypatch.setattr("tdq_core.sweeps.cluster.CONNECT_S", 0.5)
    for address in ("tcp://127.0.0.1:1", "nonsense://there", "127.0.0.1:1:2"):
        done = tdq("sweep", "s.toml", "--scheduler", address)
        assert (done.returncode, done.stdout) == (2, ""), done.stderr
        assert f"No scheduler answers at '{address}'" in done.stderr and done.stderr.count("\n") == 1


DENSE = RunSpec.of("digits_resnet", "digits")


@pytest.fixture(scope="module")
def dense() -> RunRecord:
    return next(r for r in RunStore(shipped_folder()).all() if r.spec == DENSE)


@pytest.mark.parametrize(
    ("stop", "code"), [(KeyboardInterrupt(), 130), (Stopped(143), 143), (NotNow("The connection is lost."), 1)]
)
def test_who_is_stopped_says_what_is_kept_and_how_to_go_on(tmp_path, tdq, monkeypatch, dense, stop, code):
    new = DENSE.changed(method="svd", rule=RankRule("ratio", 2.5))

    def stopped(grid, watch, **named):
        watch.on_record(dense, 1.0, "")  # not one of those that are asked for
        watch.on_record(structs.replace(dense, spec=new), 1.0, "")
        raise stop

    (tmp_path / "s.toml").write_text(SHIPPED.replace("ratio = [2, 3]", "ratio = [2, 2.5]"))
    monkeypatch.setattr(command, "carry_out", stopped)
    done = tdq("sweep", "s.toml")
    assert done.returncode == code and not done.stdout
    assert "Stopped: 4 of 6 runs are measured and kept. The same command goes on from there" in done.stderr
