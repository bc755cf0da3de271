"""The pages' sentences and tables, and which check holds which words."""

import functools
import re
from collections.abc import Callable
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent.parent
PAGES = ("README.md", "cached_runs/README.md", *(f"docs/{p.name}" for p in sorted((PROJECT / "docs").glob("*.md"))))
CLAIM = re.compile(
    r"verif|smallest|no choice|within .*points?\b|times smaller|\dx smaller"
    r"|\b(?:loses?|lost|costs?|gains?|adds|takes)\b.*\b(?:points?|nothing|everything)\b",
    re.I,
)
HELD: dict[tuple[str, str], Callable[[], None]] = {}
"""By page and words the check that holds them."""


def holds(page: str, *words: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """The check that follows holds these words of the page."""

    def kept(check: Callable[[], None]) -> Callable[[], None]:
        HELD.update(dict.fromkeys(((page, w) for w in words), check))
        return check

    return kept


def sentences(page: str):
    """The page's prose by sentence, without what is written from records, code, headings and tables."""
    text = re.sub(r"<!-- (\w+) -->.*?<!-- /\1 -->", "", (PROJECT / page).read_text(), flags=re.S)
    text = re.sub(r"```.*?```", "\n\n", text, flags=re.S)
    text = "\n".join("" if line.startswith(("|", "#")) else line for line in text.splitlines())
    for paragraph in re.split(r"\n\s*\n|\n- ", text):
        yield from re.split(r"(?<=[.;]) ", " ".join(paragraph.split()))


@functools.cache
def rows(page: str) -> list[list[tuple[tuple[str, ...], dict[str, str]]]]:
    """The page's tables in order: each row's leading cells (two where a share is kept), and the others by column."""
    found = []
    for block in re.findall(r"(?:^\|.*\n)+", (PROJECT / page).read_text(), re.M):
        head, _, *lines = ([c.strip(" *") for c in line.split("|")[1:-1]] for line in block.splitlines())
        keys = 2 if "kept" in head else 1
        found.append([(tuple(row[:keys]), dict(zip(head[keys:], row[keys:], strict=True))) for row in lines])
    return found


def tables(page: str) -> list[dict[tuple[str, ...], dict[str, str]]]:
    """The same by leading cells, which tell rows apart in most tables."""
    return [dict(table) for table in rows(page)]


def says_what_a_word_means() -> None:
    """No number of a run: the sentence says what a table or a field holds, and other tests hold that."""


holds(
    "docs/deploy.md",
    "It is a command of its own, for it asks another question than `verify`",
    "Depthwise convolutions widen first and lose nothing",
    "`--repair` writes the export again with the weights of guilty layers within **7 bits**",
    "The images between verify the drop, and the clock a latency",
    "Without `--least latency` a recipe looks for the smallest file as before",
)(says_what_a_word_means)
holds(
    "README.md",
    "the smallest file that loses at most one point on the images that choose",
    "*Shown*: there the interval ends within a point",
)(says_what_a_word_means)
holds(
    "cached_runs/README.md",
    "`n_verify` (images of the two halves)",
    "`verified_drop` (drop, low, high: on the images that choices look at",
    "`smallest_component`",
)(says_what_a_word_means)
holds(
    "docs/zoo.md",
    "The smallest file that loses at most one point on one half",
    "*Shown*: there the interval ends within a point",
    "how much smaller than dense FP32 it is, and what it loses there and on the other half",
    "how many of those that choose one do not see it missed on the others",
)(says_what_a_word_means)
holds(
    "docs/cp-int8.md",
    '"Lost" is in points against the fp32 model of the same row',
    "A run is predicted to lose more than a point to its integers where",
)(says_what_a_word_means)
holds("docs/deploy.md", "`tdq verify DIR` does it again")(says_what_a_word_means)
holds("docs/house.md", "`check` and `verify` compare its answers")(says_what_a_word_means)
