"""A sweep as a job: counted as runs come, and told in a sentence what is missing."""

from pathlib import Path

import pytest
from msgspec import structs

from tdq_core.errors import InputError
from tdq_core.jobs.folder import Request
from tdq_core.jobs.swept import Count
from tdq_core.records.record import RunRecord
from tdq_core.records.store import RUNS, Store, shipped_folder
from tdq_core.specs import RankRule, RunSpec

SPEC = RunSpec.of("digits_resnet", "digits", method="svd", rule=RankRule("ratio", 2.0))
GRID = {"model": "digits_resnet", "data": "digits", "method": "svd", "ratio": [1.5, 2.0]}


@pytest.fixture(scope="module")
def record() -> RunRecord:
    return next(r for r in Store(RUNS, shipped_folder()).found().values if r.state == "complete")


def test_a_request_is_read_again_with_its_grid(tmp_path: Path) -> None:
    asked = Request(kind="sweep", spec=SPEC, sweep=GRID)
    assert Request.from_json(asked.to_json()) == asked


@pytest.mark.parametrize("grid", [{}, {**GRID, "method": "nope"}, {**GRID, "ratios": [2]}, {"model": "digits_resnet"}])
def test_a_grid_that_is_none_is_refused_before_any_work(grid: dict[str, object]) -> None:
    with pytest.raises(InputError):
        Request(kind="sweep", spec=SPEC, sweep=grid)


def test_progress_counts_what_came_of_what_is_to_be_measured(record: RunRecord) -> None:
    told: list[tuple[str, int, int]] = []
    count = Count(lambda stage, done, total: told.append((stage, done, total)))
    count.watch.on_start(3, 2, "here")
    count.watch.on_record(record, 1.0, "")
    count.watch.on_complaint(SPEC, "too slow")
    assert told == [("runs", 0, 3), ("runs", 1, 3), ("runs", 2, 3)]


def test_what_it_comes_to(record: RunRecord) -> None:
    def result(records: list[RunRecord], complaints: list[str], began: int) -> object:
        count = Count(lambda *_: None)
        if began:
            count.watch.on_start(began, 1, "here")
        found = count.result(records, complaints)
        return found.state, found.run_id, found.reused, found.reason

    refused = structs.replace(
        record, state="refused", metrics=None, baseline=None, reason="out of reach", run_id="f" * 16
    )
    assert result([record], [], 0) == ("done", record.run_id, True, None)
    state, run_id, reused, reason = result([record, refused], ["lost"], 3)
    assert (state, run_id, reused) == ("done", record.run_id, False)
    assert reason == "2 runs could not be measured or kept; the first: out of reach"
    assert result([refused], [], 1)[0] == "failed"
