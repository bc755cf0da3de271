"""The pages, a row each: the router, the links between pages and the tests follow. A new one is a row and a file."""

from typing import NamedTuple


class Page(NamedTuple):
    """One page.

    Attributes:
        address: in the browser, and the name of its file in `views/`.
        icon: one of Material's.
    """

    address: str
    title: str
    icon: str

    @property
    def file(self) -> str:
        """Relative to the router."""
        return f"views/{self.address}.py"


PAGES = (
    Page("explore", "Explore", ":material/tune:"),
    Page("study", "Study", ":material/science:"),
    Page("recipe", "Recipe", ":material/checklist:"),
    Page("components", "Components", ":material/stacked_bar_chart:"),
    Page("additivity", "Additivity", ":material/add_circle:"),
    Page("compare", "Compare", ":material/compare_arrows:"),
    Page("runs", "Runs", ":material/table_rows:"),
)
"""In the order of the navigation; the first one opens where the address names none."""


def page(address: str) -> Page:
    """The page of this address; a KeyError where there is none."""
    return {p.address: p for p in PAGES}[address]
