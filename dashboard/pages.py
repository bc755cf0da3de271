"""The pages, a row each: the router, the links between pages and the tests follow. A new one is a row and a file."""

from typing import NamedTuple


class Page(NamedTuple):
    """One page.

    Attributes:
        address: in the browser, and the name of its file in `views/`.
        title: in the row of pages.
        icon: one of Material's.
        question: what it answers, over the page; '': its title.
    """

    address: str
    title: str
    icon: str
    question: str = ""

    @property
    def file(self) -> str:
        """Relative to the router."""
        return f"views/{self.address}.py"


PAGES = (
    Page("explore", "Explore", ":material/tune:", "What will it cost?"),
    Page("find", "Find", ":material/search:", "What is the best for my budget?"),
    Page("additivity", "Additivity", ":material/add_circle:", "Do the drops add up?"),
    Page("components", "Components", ":material/stacked_bar_chart:", "Why does INT8 fail?"),
    Page("compare", "Compare", ":material/compare_arrows:", "Is the difference real?"),
    Page("study", "Study", ":material/science:", "What did the study find?"),
    Page("runs", "Runs", ":material/table_rows:", "What was measured?"),
    Page("glossary", "Words", ":material/dictionary:", "What do the words mean?"),
)
"""In the order of their row; the first one opens where the address names none."""
MOVED = {"recipe": "find"}
"""Addresses of before, with the page that answers there now."""


def page(address: str) -> Page:
    """The page of this address; a KeyError where there is none."""
    return {p.address: p for p in PAGES}[address]
