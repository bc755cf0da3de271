"""The short form of `benchmarks.faults` and `benchmarks.fuzz`: seconds of what those do for long."""

import pytest

from benchmarks._addresses import looked_at
from benchmarks._campaign import COUNTED
from benchmarks._readers import READERS
from benchmarks.faults import campaign
from benchmarks.fuzz import fuzz_files

QUICK = 40
"""Inputs of a kind; the long form has thousands."""


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_no_fault_loses_a_run_breaks_a_page_or_leaves_anything() -> None:
    c = campaign(20, seeded=5, without=("killed_run", "killed_job"))
    assert c.injected.total() == 20 and len(c.finished) > 5
    assert {what: c.counts[what] for what in COUNTED} == dict.fromkeys(COUNTED, 0)


@pytest.mark.parametrize("kind", READERS)
def test_whatever_a_file_says_is_a_value_or_a_sentence(kind: str) -> None:
    found = fuzz_files(READERS[kind], QUICK, seeded=11)
    assert not found.faults, found.faults[0][1]
    assert found.counts["accepted"] and found.counts["refused"]


def test_whatever_an_address_says_is_one_of_the_choices() -> None:
    assert looked_at(100, 3).total() == 100
