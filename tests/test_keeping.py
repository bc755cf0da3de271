"""Folders that cannot be written to, disks that fill, files that do not belong: said in time, and nothing is lost."""

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
from test_records import record

from tdq_core.api import runs as api_runs
from tdq_core.errors import InputError, NotKept, NotNow
from tdq_core.pipeline import run as pipeline
from tdq_core.records.record import RunRecord
from tdq_core.records.store import RunStore
from tdq_core.specs import RunSpec
from tdq_core.system import files
from tdq_core.system.files import require_file, require_folder, user_path, write_atomically

Tdq = Callable[..., Any]
POINT = ("run", "--model", "digits_resnet", "--data", "digits", "--samples", "40", "--method", "svd", "--ratio", "1.5")


def kept(store: RunStore, number: int) -> RunRecord:
    one = record(spec=RunSpec.of("net", "digits", seed=number))
    store.put(one)
    return one


FOREIGN: dict[str, Callable[[Path], Any]] = {
    "notes.json": lambda p: p.write_text("{}"),
    "ranks.json": lambda p: p.write_text('{"a": 3}'),
    "0123456789abcdef copy.json": lambda p: p.write_text("{}"),
    "0123456789ABCDEF.json": lambda p: p.write_text("{}"),
    "0123456789abcdef.json": lambda p: p.write_text("{"),
    "1123456789abcdef.json": lambda p: p.write_bytes(b"\xff\xfe"),
    "2123456789abcdef.json": lambda p: p.mkdir(),
    "3123456789abcdef.json": lambda p: p.symlink_to("nowhere"),
    "4123456789abcdef.json": lambda p: p.write_text("[" * 100_000),
    "5123456789abcdef.json": lambda p: p.write_text(record().to_json()),
    "6123456789abcdef.json": lambda p: p.write_text("9" * 5000),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_file_that_does_not_belong_hides_no_other_and_is_named(tmp_path: Path, name: str) -> None:
    store = RunStore(tmp_path)
    own = [kept(store, number) for number in range(3)]
    FOREIGN[name](tmp_path / name)
    found = store.found()
    assert sorted(r.run_id for r in found.values) == sorted(r.run_id for r in own)
    assert len(found.left_out) == 1 and name in found.left_out[0]
    assert found.get(own[0].run_id) == own[0] and found.get("0" * 16) is None and found.get(None) is None
    with pytest.warns(UserWarning, match=name[:8]):
        assert len(api_runs.runs(tmp_path)) == 3


def test_an_export_into_the_folder_of_runs_is_one_run(tdq: Tdq, tmp_path: Path) -> None:
    told = tdq(*POINT, "--export", tmp_path / "runs")
    records = {p.stem for p in RunStore(tmp_path / "runs").paths()}
    assert told.returncode == 0 and len(records) == 2, "the run and its dense baseline"
    shown = json.loads((listed := tdq("show", "--json")).stdout)
    assert records <= {r["run_id"] for r in shown} and len(shown) == len({r["run_id"] for r in shown})
    assert "ranks.json" in listed.stderr and "record.json" in listed.stderr
    assert f"{len(shown)} records" in tdq("doctor").stdout


def no_space(*_: object) -> NoReturn:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_atomically(tmp_path / "a.json", "before")
    monkeypatch.setattr(files.os, "fsync", no_space)
    with pytest.raises(NotNow, match=r"a\.json' cannot be written: No space left on device"):
        write_atomically(tmp_path / "a.json", "after")
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"] and (tmp_path / "a.json").read_text() == "before"
    with pytest.raises(NotKept, match="This run could not be kept") as lost:
        RunStore(tmp_path).put(record())
    assert lost.value.value == record()


def test_a_folder_is_tried_and_left_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    for good in (tmp_path, tmp_path / "new" / "er", tmp_path / "ü [x]"):
        require_folder(good, "It", "go")
    for bad in (tmp_path / "file", tmp_path / "file" / "runs", tmp_path / ("x" * 300), tmp_path / "loop" / "runs"):
        with pytest.raises(InputError, match=r"It '.*cannot be written to .*: go"):
            require_folder(bad, "It", "go")
    monkeypatch.setattr(files.os, "fsync", no_space)
    with pytest.raises(InputError, match="No space left"):
        require_folder(tmp_path, "It", "go")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "loop"]
    with pytest.raises(InputError, match="is a folder"):
        require_file(tmp_path)


def test_home_is_home_and_a_stranger_is_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere")
    assert user_path("~/a") == Path("/somewhere/a") and user_path("~nobody-of-this-name/a").parts[0][0] == "~"


@pytest.mark.parametrize("way", ["runs", "export"])
def test_where_nothing_can_be_kept_no_work_begins(
    tdq: Tdq, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(pipeline, "build", lambda *_: pytest.fail("work has begun"))
    if way == "runs":
        monkeypatch.setenv("TDQ_RUNS", str(tmp_path / "file" / "runs"))
    told = tdq(*POINT, *(("--export", "file") if way == "export" else ()))
    assert (told.returncode, told.stdout) == (2, "") and len(told.stderr.splitlines()) == 1
    assert "cannot be written to (Not a directory)" in told.stderr
    if way == "runs":
        assert told.stderr.removeprefix("tdq: ").strip() in tdq("doctor").stdout


@pytest.mark.parametrize("as_json", [False, True])
def test_what_was_measured_is_printed_where_it_cannot_be_kept(
    tdq: Tdq, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_json: bool
) -> None:
    monkeypatch.setattr(files, "_write", no_space)
    told = tdq(*POINT, "--export", "out", *(("--json",) if as_json else ()))
    assert told.returncode == 1
    if as_json:
        assert RunRecord.from_dict(json.loads(told.stdout)).state == "complete"
    else:
        assert "complete" in told.stdout and "top-1" in told.stdout
    run, export = told.stderr.splitlines()
    assert "This run could not be kept" in run and "ranks.json' cannot be written" in export
    assert not list((tmp_path / "runs").glob("*"))


@pytest.mark.parametrize("out, says", [("there", "is a folder"), ("file/a.csv", "Not a directory")])
def test_a_csv_goes_where_a_file_can_be(tdq: Tdq, tmp_path: Path, out: str, says: str) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "file").write_text("")
    told = tdq("csv", "--out", out)
    assert told.returncode == 2 and says in told.stderr and len(told.stderr.splitlines()) == 1
    assert tdq("csv", "--out", "new/ü [x].csv").returncode == 0 and (tmp_path / "new" / "ü [x].csv").is_file()


def test_what_is_kept_beside_the_runs_is_shown_and_cleared(tdq, tmp_path, monkeypatch):
    monkeypatch.setenv("TDQ_CACHE_GB", "1")
    spec = ("--model", "digits_resnet", "--data", "digits", "--samples", "50")
    assert tdq("run", *spec, "--method", "cp", "--epc", "--ratio", "1.5").returncode == 0
    kept = json.loads(tdq("cache", "--json").stdout)
    assert kept["factors"]["files"] > 0 and kept["moments"]["files"] == 0
    assert "factors" in tdq("cache").stdout and "TDQ_CACHE_GB" in tdq("cache").stdout
    refused = tdq("cache", "--clear", "everything")
    assert refused.returncode == 2 and "factors, moments, layers, answers, changes, finetune, all" in refused.stderr
    assert "factors: " in tdq("cache", "--clear", "factors").stdout
    assert json.loads(tdq("cache", "--json").stdout)["factors"]["files"] == 0
