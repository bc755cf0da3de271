"""The parts of the project's pages that are written from cards and records: tables between markers, counts of runs.

A table stands between `<!-- name -->` and `<!-- /name -->`.
"""

import re
from pathlib import Path
from typing import NamedTuple

from cached_runs.digits import readme_table
from cached_runs.headlines import HEADLINE, SHOWN, halves_table, headline_table, verdicts
from cached_runs.options_table import options_table
from cached_runs.study import NETWORKS
from cached_runs.tables import additivity_table, count_table, drops_tables, network_table
from tdq_core.records.store import RunStore
from tdq_core.system.files import write_atomically

_COUNT = re.compile(r"\b\d+(?= measured runs\b)")


class Written(NamedTuple):
    """What is written into the pages.

    Attributes:
        blocks: by page and name of its place.
        runs: how many are shipped.
    """

    blocks: dict[str, dict[str, str]]
    runs: int


def written(root: Path) -> Written:
    """Everything that the pages of the project at `root` take from its records and cards."""
    records = RunStore(root / "cached_runs").all()
    trained = [m for m in NETWORKS if any(r.spec.model.name == m for r in records)]
    known = verdicts(trained, records)
    blocks = {
        "README.md": {
            "headline": headline_table(HEADLINE, known, records),
            "table": readme_table(records),
            "halves": halves_table(SHOWN, known),
            "options": options_table(),
        },
        "cached_runs/README.md": {"counts": count_table(trained, records)},
        "docs/zoo.md": {
            "networks": network_table(),
            "drops": drops_tables(trained, records),
            "halves": halves_table(trained, known),
            "additivity": additivity_table(trained, records),
        },
    }
    return Written(blocks, len(records))


def filled(root: Path, found: Written | None = None) -> dict[Path, str]:
    """Every page of the project at `root` as it must read, by path.

    Args:
        found: what is written into them; None: it is read from the records.

    Raises:
        ValueError: where a page lacks the place for a table or a count.
    """
    found = found or written(root)
    pages = {root / name: _fill((root / name).read_text(), blocks) for name, blocks in found.blocks.items()}
    for name in ("README.md", "cached_runs/README.md"):
        pages[root / name] = _once(_COUNT, str(found.runs), pages[root / name])
    return pages


def write_pages(root: Path, found: Written | None = None) -> None:
    """Bring the pages up to date; does nothing where TDQ is installed without them."""
    if (root / "docs").exists():
        for path, text in filled(root, found).items():
            write_atomically(path, text)


def _fill(page: str, blocks: dict[str, str]) -> str:
    for name, block in blocks.items():
        between = re.compile(rf"(?<=<!-- {name} -->\n).*?(?=\n<!-- /{name} -->)", re.S)
        page = _once(between, block, page)
    return page


def _once(pattern: re.Pattern[str], text: str, page: str) -> str:
    page, count = pattern.subn(lambda _: text, page, count=1)
    if not count:
        raise ValueError(f"no place for what is written from the runs: {pattern.pattern}")
    return page
