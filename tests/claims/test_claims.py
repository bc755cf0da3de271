"""Every sentence of the pages that says how much is lost, what is verified or what is smallest is held against numbers:
those of the shipped runs, or those of the tables that the page itself prints. A new sentence of the kind needs a check.
"""

import of_runs
import of_tables
import pytest
from told import CLAIM, HELD, PAGES, PROJECT, sentences

CHECKS = {check.__name__: check for check in HELD.values()}


def test_both_kinds_of_checks_are_there():
    assert {of_runs.__name__, of_tables.__name__} <= {check.__module__ for check in CHECKS.values()}


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS.keys())
def test_what_is_claimed_is_so(check):
    check()


def test_what_is_checked_stands_on_its_page():
    flat = {page: " ".join((PROJECT / page).read_text().split()) for page in PAGES}
    assert [key for key in HELD if key[1] not in flat[key[0]]] == []


@pytest.mark.parametrize("page", PAGES)
def test_no_sentence_claims_what_nothing_holds(page):
    words = [words for where, words in HELD if where == page]
    claims = [s for s in sentences(page) if CLAIM.search(s)]
    assert [s for s in claims if not any(w in s or s.rstrip(".;:") in w for w in words)] == []


def test_claims_are_seen():
    for sentence in ("It loses 0.52 points.", "no choice looked at it", "7.9 times smaller", "within one point",
                     "Verified on the others", "costs AlexNet nothing"):  # fmt: skip
        assert CLAIM.search(sentence)
    assert not CLAIM.search("Every export is compared with torch.")
