"""Where what was measured lives: one JSON file a value, in `runs/` (yours) and `cached_runs/` (shipped). No torch."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from tdq_core.errors import InputError
from tdq_core.records.record import RunRecord
from tdq_core.system.files import write_atomically

PROJECT = Path(__file__).resolve().parent.parent.parent


class Storable(Protocol):
    """A value that has a file of its own."""

    def to_json(self) -> str: ...


V = TypeVar("V", bound=Storable)


@dataclass(frozen=True)
class Kind(Generic[V]):
    """What one kind of file holds.

    Attributes:
        name: for sentences; again: what to do about a damaged file.
        folder: inside a folder of runs; '' for the runs themselves.
        identify: the name of a value, which is that of its file.
        read: from plain JSON values; InputError where they are not of this kind.
    """

    name: str
    again: str
    folder: str
    identify: Callable[[V], str]
    read: Callable[[Mapping[str, Any]], V]


RUNS = Kind("run", "run it again", "", lambda record: record.run_id, RunRecord.from_dict)


def runs_folder() -> Path:
    """`$TDQ_RUNS`, or `runs/` in the folder that TDQ is started from."""
    return Path(os.environ.get("TDQ_RUNS") or "runs")


def shipped_folder() -> Path:
    """The runs that come with the project; absent when only the engine was installed."""
    return PROJECT / "cached_runs"


class Store(Generic[V]):
    """Reads every folder given; writes to the first one only, atomically.

    Each file is named `<id>.json`. Finished runs are never changed; a failed one is replaced when it is tried again.
    """

    def __init__(self, kind: Kind[V], *folders: Path) -> None:
        self.kind = kind
        self.folders = tuple(folder / kind.folder for folder in folders or (runs_folder(), shipped_folder()))

    def path(self, name: str) -> Path | None:
        """The file that holds the value of this id, or None."""
        for folder in self.folders:
            if (path := folder / f"{name}.json").exists():
                return path
        return None

    def get(self, name: str) -> V | None:
        return self.read(path) if (path := self.path(name)) else None

    def find(self, prefix: str) -> V:
        """The one value whose id starts with `prefix`."""
        ids = sorted({path.stem for path in self.paths() if path.stem.startswith(prefix)})
        if len(ids) != 1 or not prefix:
            found = "none does" if not ids else f"{len(ids)} do: {', '.join(ids[:4])}"
            raise InputError(
                f"One {self.kind.name}'s id must start with '{prefix}', but {found}. `tdq show` lists all runs."
            )
        value = self.get(ids[0])
        assert value, "a listed file exists"
        return value

    def paths(self) -> Iterator[Path]:
        """Every file, each id once, earlier folders first."""
        seen: set[str] = set()
        for folder in self.folders:
            for path in sorted(folder.glob("*.json")):
                if path.stem not in seen:
                    seen.add(path.stem)
                    yield path

    def all(self) -> list[V]:
        return [self.read(path) for path in self.paths()]

    def put(self, value: V) -> Path:
        """Write to a temporary name, then rename: a reader sees the whole value or none."""
        return write_atomically(self.folders[0] / f"{self.kind.identify(value)}.json", value.to_json())

    def read(self, path: Path) -> V:
        """Read one file; a torn or foreign one is an error that names it."""
        try:
            return self.kind.read(json.loads(path.read_text()))
        except (json.JSONDecodeError, UnicodeDecodeError, InputError) as error:
            raise InputError(
                f"The {self.kind.name} file '{path}' cannot be read: {error} Move it away or {self.kind.again}."
            ) from error


class RunStore(Store[RunRecord]):
    """The records of runs."""

    def __init__(self, *folders: Path) -> None:
        super().__init__(RUNS, *folders)
