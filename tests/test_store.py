"""What lies in a folder of runs: whatever it is, it is read whole or told, and hides and stops nothing else."""

import json
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks._damage import NON_FILES, TEXTS
from tdq_core.analysis.components import STUDIES
from tdq_core.errors import InputError
from tdq_core.models import registry
from tdq_core.recipes.report import RECIPES
from tdq_core.records import index, store
from tdq_core.records.listing import Memory
from tdq_core.records.store import RUNS, Kind, RunStore, Store, shipped_folder
from tdq_core.system.reading import Damaged, read_bytes, read_json

Plain = dict[str, Any]
POINT = ("run", "--model", "digits_resnet", "--data", "digits", "--samples", "20", "--method", "svd", "--ratio", "2")
SHIPPED = sorted(p for p in shipped_folder().glob("*.json") if '"latency": {' in p.read_text())[0]


def shipped_run() -> Plain:
    return dict(json.loads(SHIPPED.read_text()))


@pytest.mark.parametrize("kind", [RUNS, STUDIES, RECIPES], ids=lambda kind: kind.name)
def test_what_is_no_value_is_one_sentence_and_hides_nothing(kind: Kind[Any], tmp_path: Path) -> None:
    there = Store(kind, tmp_path)
    good = Store(kind, shipped_folder()).found().values[0]
    there.put(good)
    for number, text in enumerate(TEXTS):
        (there.folders[0] / f"{number:016x}.json").write_text(text)
    for number, make in enumerate(NON_FILES.values(), start=len(TEXTS)):
        make(there.folders[0] / f"{number:016x}.json")
    found = there.found()
    assert found.values == (good,) and len(found.left_out) == len(TEXTS) + len(NON_FILES)
    for number, sentence in enumerate(found.left_out):
        assert f"{number:016x}.json' cannot be read: " in sentence and "\n" not in sentence and len(sentence) < 400
    for number in range(len(TEXTS) + len(NON_FILES)):
        assert there.usable(f"{number:016x}") is None


UNSOUND: dict[str, Callable[[Plain], object]] = {
    "no images": lambda p: p["metrics"].update(n=0),
    "other images": lambda p: p["metrics"].update(n=p["metrics"]["n"] + 8),
    "a bit too many": lambda p: p["baseline"].update(outcomes="/" * len(p["baseline"]["outcomes"])),
    "no base64": lambda p: p["metrics"].update(outcomes="ä"),
    "another share": lambda p: p["metrics"].update(top1=0.5, top1_low=0.4, top1_high=0.6),
    "a share above one": lambda p: p["metrics"].update(top1_high=1.5),
    "an interval elsewhere": lambda p: p["metrics"].update(top1_low=1.0),
    "no bytes": lambda p: p["metrics"].update(bytes=0),
    "fewer than no params": lambda p: p["baseline"].update(params=-5),
    "more than can be counted": lambda p: p["metrics"].update(macs=10**30),
    "another ratio": lambda p: p["metrics"].update(compression_ratio=77.0),
    "MACs that are gone": lambda p: p["metrics"].update(macs=0),
    "quartiles that are swapped": lambda p: p["metrics"]["latency"].update(q1_ms=1e9),
    "no model": lambda p: p["digests"].pop("model"),
    "digests that are numbers": lambda p: p["digests"].update(calib=5),
    "no name": lambda p: p.update(run_id=None),
    "another's name": lambda p: p.update(run_id="f" * 16),
    "a note that says nothing": lambda p: p.update(notes=[" "]),
    "a note that is a number": lambda p: p.update(notes=[1]),
    "a layer twice": lambda p: p["layers"].append(p["layers"][0]),
    "a layer without an error": lambda p: p["layers"][1].update(rel_error=None),
    "a layer without ranks": lambda p: p["layers"][1].update(ranks=[]),
    "groups of a kind": lambda p: p["layers"][1]["detail"].update(groups="two"),
    "no spreads": lambda p: p["layers"][1]["detail"].update(spread_before=[]),
    "flags that are one text": lambda p: p["provenance"].update(cpu_flags="avx2"),
    "versions in a list": lambda p: p["provenance"].update(versions=["1"]),
    "images in words": lambda p: p["provenance"].update(n="many"),
    "no network": lambda p: p["spec"].pop("model"),
    "a rule of rules": lambda p: p["spec"].update(method="cp", rule={"kind": "manual", "ranks": 3}),
    "a spec in a list": lambda p: p.update(spec=[]),
    "a schema that is true": lambda p: p.update(schema=True),
}


def spoilt(what: str) -> Plain:
    plain = next(
        p for path in sorted(shipped_folder().glob("*.json"))
        if (p := json.loads(path.read_text()))["metrics"]["latency"] and len(p["layers"]) > 1
        and p["layers"][1]["method"] != "none"
    )  # fmt: skip
    UNSOUND[what](plain)
    return dict(plain)


@pytest.mark.parametrize("what", UNSOUND)
def test_a_record_whose_parts_do_not_fit_is_damaged(what: str, tmp_path: Path) -> None:
    name = SHIPPED.stem
    plain = spoilt(what)
    name = plain["run_id"] if isinstance(plain["run_id"], str) and what != "another's name" else name
    path = tmp_path / f"{name}.json"
    path.write_text(json.dumps(plain))
    found = RunStore(tmp_path).found()
    assert not found.values and path.name in found.left_out[0]


def test_what_is_damaged_here_may_be_whole_there(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    path = RunStore(there).put(RUNS.read(shipped_run()))
    here.mkdir()
    (here / path.name).write_text("{")
    both = RunStore(here, there)
    found = both.found()
    assert [r.run_id for r in found.values] == [path.stem] and len(found.left_out) == 1
    assert both.get(path.stem) == both.usable(path.stem) == found.values[0]


def test_damage_is_told_with_the_rest_and_in_the_exit_code(tdq: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / f"{'0' * 16}.json").mkdir()
    os.mkfifo(tmp_path / "runs" / f"{'1' * 16}.json")
    for command in (("show",), ("show", "--json"), ("csv",), ("csv", "--out", "a.csv")):
        told = tdq(*command)
        assert told.returncode == 1 and told.stderr.count("cannot be read") == 2, command
    assert len((tmp_path / "a.csv").read_text().splitlines()) > 700
    assert tdq("show", "1" * 16).returncode == 2


@pytest.mark.parametrize("how", ["torn", "folder", "pipe"])
def test_run_it_again_measures_it_again(tdq: Callable[..., Any], tmp_path: Path, how: str) -> None:
    """The baseline that is damaged too, and nothing of either stays."""
    assert tdq(*POINT).returncode == 0
    whole = {path: json.loads(path.read_text())["metrics"] for path in (tmp_path / "runs").glob("*.json")}
    assert len(whole) == 2
    for path in whole:
        path.unlink()
        path.write_text("{") if how == "torn" else NON_FILES[how](path)
    again = tdq(*POINT)
    assert again.returncode == 0 and "measured before" not in again.stdout
    assert {path: json.loads(path.read_text())["metrics"] for path in whole} == whole
    assert "measured before" in tdq(*POINT).stdout


@pytest.fixture
def many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with few runs that is indexed as one with many is."""
    monkeypatch.setattr(index, "FROM", 2)
    for record in RunStore(shipped_folder()).found().values[:6]:
        RunStore(tmp_path).put(record)
    return tmp_path


def read_paths(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, list[str]]:
    """What is found by a new process, and the files that were read for it."""
    seen: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(store, "read_json", lambda path: seen.append(path.stem) or read_json(path))
        return RunStore(folder).found(Memory()), seen


def test_the_index_says_what_the_files_say(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, seen = read_paths(many, monkeypatch)
    assert len(seen) == 6
    again, seen = read_paths(many, monkeypatch)
    assert seen == [] and again.values == first.values
    for one, other in zip(first.values, again.values, strict=True):
        assert one.to_json() == other.to_json() and one.drop() == other.drop() and hash(other.spec) == hash(one.spec)


def test_an_index_that_is_stale_or_damaged_changes_no_answer(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = read_paths(many, monkeypatch)
    gone, torn, *_ = sorted(many.glob("*.json"))
    gone.unlink()
    torn.write_text("{")
    found, seen = read_paths(many, monkeypatch)
    assert seen == [torn.stem] and len(found.values) == 4 and torn.name in found.left_out[0]
    database = many / index.NAME
    for harm in (
        lambda: database.write_bytes(database.read_bytes()[:3000]),
        lambda: database.write_bytes(b"no database" * 999),
        lambda: _sql(database, "UPDATE files SET packed = x'c0'"),
        lambda: _sql(database, "PRAGMA user_version = 99"),
        lambda: (database.unlink(), os.mkfifo(database)),
        lambda: (database.unlink(), database.mkdir()),
    ):
        harm()
        assert read_paths(many, monkeypatch)[0].values == found.values
    assert {r.run_id for r in found.values} < {r.run_id for r in first.values}


def _sql(path: Path, command: str) -> None:
    with sqlite3.connect(path) as database:
        database.execute(command)


def test_nothing_is_read_that_is_no_file_or_too_large(tmp_path: Path) -> None:
    for name, make in NON_FILES.items():
        make(tmp_path / name)
        with pytest.raises(Damaged):
            read_bytes(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        read_bytes(tmp_path / "none")
    (tmp_path / "large").write_bytes(b"1" * 9)
    with pytest.raises(Damaged, match="9 bytes"):
        read_bytes(tmp_path / "large", most=8)
    (tmp_path / "halves").write_text(r'"\udcff"')
    assert read_json(tmp_path / "halves") == "\udcff", "names of files that are no UTF-8 are kept so"


def test_a_card_that_cannot_be_read_hides_no_other_model(
    tdq: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = json.loads((registry.WEIGHTS_FOLDER / "resnet18_cifar10.json").read_text())
    monkeypatch.setattr(registry, "WEIGHTS_FOLDER", tmp_path)
    for change in ({"sha256": "abc"}, {"file": "../../x"}, {"scores": {"eval": {"top1": 2}}}, {"source": None}):
        (tmp_path / "resnet18_cifar10.json").write_text(json.dumps(whole | change))
        (tmp_path / "resnet20_cifar10.json").write_text(json.dumps(whole))
        assert len(registry.damaged_cards()) == 1 and registry.MODELS["resnet18_cifar10"].usable_weights is None
        with pytest.raises(InputError, match=r"resnet18_cifar10\.json' cannot be read"):
            _ = registry.MODELS["resnet18_cifar10"].weights
        assert registry.MODELS["resnet20_cifar10"].weights
    told = tdq("models")
    assert told.returncode == 0 and "resnet18_cifar10.json" in told.stderr and "resnet20_cifar10" in told.stdout
