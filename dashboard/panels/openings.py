"""What a page shows of a subject before anything is chosen. It stands in the links to the page, for an address that the
page had to complete would be a second step in the browser's history."""

from collections.abc import Callable, Mapping

from dashboard.facts.comparison import first_compared
from dashboard.facts.subject import Subject
from dashboard.pages import Page
from dashboard.panels.components import studies_of
from dashboard.panels.recipe import recipes_of
from dashboard.panels.results import first_shown


def opening(page: Page, subject: Subject) -> dict[str, str]:
    """The address's part on `page`, without the subject."""
    found = _OPENINGS.get(page.address)
    return found(subject) if found else {}


def _first(key: str, ids: Mapping[str, object]) -> dict[str, str]:
    return {key: next(iter(ids))} if ids else {}


_OPENINGS: Mapping[str, Callable[[Subject], dict[str, str]]] = {
    "explore": lambda subject: {"run": first_shown(subject)} if subject.runs else {},
    "compare": lambda subject: {"runs": ",".join(first_compared(subject.runs))} if subject.runs else {},
    "components": lambda subject: _first("study", studies_of(subject)),
    "find": lambda subject: _first("recipe", recipes_of(subject)),
}
