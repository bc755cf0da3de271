"""The shelf: every file is read once, whatever their number, and again where it has changed."""

from pathlib import Path

import pytest
from made_up import four_cells, record

from dashboard.facts.groups import group_runs
from dashboard.facts.subject import Subject
from dashboard.shelf import catalog
from tdq_core.records.record import RunRecord
from tdq_core.records.store import RUNS, RunStore, Store

MANY = 60


def test_a_file_is_read_once_and_again_where_it_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(MANY):
        RunStore(tmp_path).put(record(f"{number:016x}"))
    seen: list[str] = []
    original = Store.read

    def read(store: Store[RunRecord], path: Path) -> RunRecord:
        seen.append(path.stem)
        return original(store, path)

    monkeypatch.setattr(Store, "read", read)
    first, again = catalog.read(RUNS, tmp_path), catalog.read(RUNS, tmp_path)
    assert len(first.values) == len(seen) == MANY and again.values == first.values
    assert all(one is other for one, other in zip(first.values, again.values, strict=True))
    (tmp_path / f"{0:016x}.json").unlink()
    RunStore(tmp_path).put(record(f"{1:016x}", right=100))
    changed = catalog.read(RUNS, tmp_path)
    assert len(seen) == MANY + 1 and len(changed.values) == MANY - 1 and changed.get(f"{0:016x}") is None


def test_no_number_of_runs_is_too_many_to_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More files than any cache of single values would hold; they are not read for this."""
    monkeypatch.setattr(Store, "read", lambda store, path: path.stem)
    for number in range(6000):
        (tmp_path / f"{number:016x}.json").touch()
    catalog.read(RUNS, tmp_path)
    monkeypatch.setattr(Store, "read", lambda store, path: pytest.fail("read again"))
    assert len(catalog.read(RUNS, tmp_path).values) == 6000


def test_a_run_that_was_measured_again_is_judged_anew() -> None:
    """`tdq run --again` writes another record under the same id."""
    *others, both = four_cells()
    again = record("d", right=195, size=125, method="tucker2", precision="int8")

    def interaction(last: RunRecord) -> float:
        (group,) = group_runs([*others, last])
        (_, (found,)) = catalog.additions(Subject("one", "One", both.spec.dense(), group))
        return found.interaction[0]

    assert again.run_id == both.run_id
    assert interaction(both) == pytest.approx(0.03)
    assert interaction(again) == pytest.approx(-0.055)
