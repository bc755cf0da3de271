"""Reports of recipes in files: `recipes/<recipe_id>.json` in `runs/` and `cached_runs/`. No torch here."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from tdq_core.errors import InputError
from tdq_core.recipes.report import Report
from tdq_core.records.store import runs_folder, shipped_folder
from tdq_core.system.files import write_atomically


def recipe_folders() -> tuple[Path, ...]:
    """Where reports are looked for; the first is where new ones go."""
    return runs_folder() / "recipes", shipped_folder() / "recipes"


def recipe_paths(folders: Sequence[Path] | None = None) -> Iterator[Path]:
    """Every report's file, each report once, earlier folders first."""
    seen: set[str] = set()
    for folder in folders or recipe_folders():
        for path in sorted(folder.glob("*.json")):
            if path.name not in seen:
                seen.add(path.name)
                yield path


def read_recipe(path: Path) -> Report:
    """Read one report; a torn or foreign file is an error that names it."""
    try:
        return Report.from_json(path.read_text())
    except (InputError, UnicodeDecodeError) as error:
        raise InputError(f"The recipe '{path}' cannot be read: {error} Move it away or ask for it again.") from error


def write_recipe(report: Report, folder: Path | None = None) -> Path:
    """Keep `report` as `<recipe_id>.json`; an earlier answer to the same question is replaced."""
    return write_atomically((folder or recipe_folders()[0]) / f"{report.recipe_id}.json", report.to_json())
