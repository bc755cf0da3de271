"""Where records live: one JSON file a run, in `runs/` (yours) and `cached_runs/` (shipped). No torch here."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

from tdq_core.errors import InputError
from tdq_core.records.record import RunRecord
from tdq_core.system.files import write_atomically

PROJECT = Path(__file__).resolve().parent.parent.parent


def runs_folder() -> Path:
    """`$TDQ_RUNS`, or `runs/` in the folder that TDQ is started from."""
    return Path(os.environ.get("TDQ_RUNS") or "runs")


def shipped_folder() -> Path:
    """The runs that come with the project; absent when only the engine was installed."""
    return PROJECT / "cached_runs"


class RunStore:
    """Reads every folder given; writes to the first one only, atomically.

    Each file is named `<run_id>.json`. Finished runs are never changed; a failed one is
    replaced when it is tried again.
    """

    def __init__(self, *folders: Path) -> None:
        self.folders = folders or (runs_folder(), shipped_folder())

    def path(self, run_id: str) -> Path | None:
        """The file that holds this run, or None."""
        for folder in self.folders:
            if (path := folder / f"{run_id}.json").exists():
                return path
        return None

    def get(self, run_id: str) -> RunRecord | None:
        return read_record(path) if (path := self.path(run_id)) else None

    def find(self, prefix: str) -> RunRecord:
        """The one run whose id starts with `prefix`."""
        ids = sorted({path.stem for path in self.paths() if path.stem.startswith(prefix)})
        if len(ids) != 1 or not prefix:
            found = "none does" if not ids else f"{len(ids)} do: {', '.join(ids[:4])}"
            raise InputError(f"One run's id must start with '{prefix}', but {found}. `tdq show` lists all runs.")
        record = self.get(ids[0])
        assert record, "a listed file exists"
        return record

    def paths(self) -> Iterator[Path]:
        """Every record's file, each run once, earlier folders first."""
        seen: set[str] = set()
        for folder in self.folders:
            for path in sorted(folder.glob("*.json")):
                if path.stem not in seen:
                    seen.add(path.stem)
                    yield path

    def all(self) -> list[RunRecord]:
        return [read_record(path) for path in self.paths()]

    def put(self, record: RunRecord) -> Path:
        """Write to a temporary name, then rename: a reader sees the whole record or none."""
        return write_atomically(self.folders[0] / f"{record.run_id}.json", record.to_json())


def read_record(path: Path) -> RunRecord:
    """Read one record; a torn or foreign file is an error that names it."""
    try:
        return RunRecord.from_dict(json.loads(path.read_text()))
    except (json.JSONDecodeError, UnicodeDecodeError, InputError) as error:
        raise InputError(f"The run file '{path}' cannot be read: {error} Move it away or run it again.") from error
