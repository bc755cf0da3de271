"""The pages, a row each: the router, the links between pages and the tests follow. A new one is a row and a file."""

from typing import NamedTuple


class Page(NamedTuple):
    """One page.

    Attributes:
        address: in the browser, and the name of its file in `views/`.
        title: in the row of pages.
        icon: one of Material's.
        question: what it answers, over the page; '': its title.
        others: more addresses that lead here; '' is that of the dashboard alone.
    """

    address: str
    title: str
    icon: str
    question: str = ""
    others: tuple[str, ...] = ()

    @property
    def file(self) -> str:
        """Relative to the router."""
        return f"views/{self.address}.py"


PAGES = (
    Page("explore", "Explore", ":material/tune:", "What will it cost?", ("",)),
    Page("find", "Find", ":material/search:", "What is the best for my budget?", ("recipe",)),
    Page("additivity", "Additivity", ":material/add_circle:", "Do the drops add up?"),
    Page("components", "Components", ":material/stacked_bar_chart:", "Why does INT8 fail?"),
    Page("compare", "Compare", ":material/compare_arrows:", "Is the difference real?"),
    Page("study", "Study", ":material/science:", "What did the study find?"),
    Page("runs", "Runs", ":material/table_rows:", "What was measured?"),
    Page("glossary", "Words", ":material/dictionary:", "What do the words mean?", ("words",)),
)
"""In the order of their row."""


def places() -> dict[str, Page]:
    """Every address that answers, with its page; a page's own comes before its others, for links lead to the first."""
    return {place: page for page in PAGES for place in (page.address, *page.others)}


def page(address: str) -> Page:
    """The page of this address; a KeyError where there is none."""
    return {p.address: p for p in PAGES}[address]
