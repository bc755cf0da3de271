"""Where what was measured lives: one JSON file a value, in `runs/` (yours) and `cached_runs/` (shipped). No torch."""

import functools
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from tdq_core.errors import InputError, NotKept, NotNow
from tdq_core.records.record import RunRecord
from tdq_core.system.files import require_folder, user_path, write_atomically

PROJECT = Path(__file__).resolve().parent.parent.parent
_ID = re.compile(r"[0-9a-f]{16}")
_NAMED = 8
"""Foreign files that are named; the others are counted."""


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
    return user_path(os.environ.get("TDQ_RUNS") or "runs")


def shipped_folder() -> Path:
    """The runs that come with the project; absent when only the engine was installed."""
    return PROJECT / "cached_runs"


@dataclass(frozen=True)
class Found(Generic[V]):
    """All files of one kind that can be read, in the order of the store, and a sentence for each that was left out."""

    kind: Kind[V]
    values: tuple[V, ...]
    left_out: tuple[str, ...] = ()

    @functools.cached_property
    def _by_name(self) -> dict[str, V]:
        return {self.kind.identify(value): value for value in self.values}

    def get(self, name: str | None) -> V | None:
        """The value of this id, or None."""
        return self._by_name.get(name) if name else None


class Store(Generic[V]):
    """Reads every folder given; writes to the first one only, atomically.

    Each file is named `<id>.json`, and holds the value of that id; other files are nobody's business here. Finished
    runs are never changed; a failed one is replaced when it is tried again.
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
        """Every file that is named by an id, each id once, earlier folders first."""
        seen: set[str] = set()
        for path in self._files():
            if _ID.fullmatch(path.stem) and path.stem not in seen:
                seen.add(path.stem)
                yield path

    def _files(self) -> Iterator[Path]:
        for folder in self.folders:
            yield from sorted(folder.glob("*.json"))

    def all(self) -> list[V]:
        """Every value; the first file that cannot be read is an InputError."""
        return [self.read(path) for path in self.paths()]

    def found(self, read: Callable[[Path], V] | None = None) -> Found[V]:
        """Every value that can be read, through `read` where one is given, and what was left out: one sentence for each
        file that cannot be read, one for all that are not named by an id."""
        read, values, left_out = read or self.read, [], []
        for path in self.paths():
            try:
                values.append(read(path))
            except (InputError, OSError) as error:
                left_out.append(str(error))
        if foreign := [f"'{path}'" for path in self._files() if not _ID.fullmatch(path.stem)]:
            named = ", ".join(foreign[:_NAMED]) + (f" and {len(foreign) - _NAMED} more" if foreign[_NAMED:] else "")
            left_out.append(f"Left out, for they are not named by the id of a {self.kind.name}: {named}.")
        return Found(self.kind, tuple(values), tuple(left_out))

    def require_writable(self) -> None:
        """Return where a value can be written; InputError, in a sentence that names the folder, where none can."""
        require_folder(self.folders[0], f"The folder of {self.kind.name}s", "set TDQ_RUNS to one that can")

    def put(self, value: V) -> Path:
        """Write to a temporary name, then rename: a reader sees the whole value or none.

        Raises:
            NotKept: it cannot be written; the error holds the value.
        """
        try:
            return write_atomically(self.folders[0] / f"{self.kind.identify(value)}.json", value.to_json())
        except NotNow as error:
            raise NotKept(f"This {self.kind.name} could not be kept: {error}", value) from error

    def read(self, path: Path) -> V:
        """Read one file; a torn or foreign one, or one that holds another id than its name says, is an error that
        names it."""
        try:
            value = self.kind.read(json.loads(path.read_text()))
            if (held := self.kind.identify(value)) != path.stem:
                raise InputError(f"It holds the {self.kind.name} {held}.")
            return value
        except (OSError, ValueError, RecursionError, InputError) as error:
            raise InputError(
                f"The {self.kind.name} file '{path}' cannot be read: {error} Move it away or {self.kind.again}."
            ) from error


class RunStore(Store[RunRecord]):
    """The records of runs."""

    def __init__(self, *folders: Path) -> None:
        super().__init__(RUNS, *folders)
