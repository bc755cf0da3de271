"""Where what was measured lives: one JSON file a value, in `runs/` (yours) and `cached_runs/` (shipped). No torch."""

import contextlib
import functools
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from tdq_core.errors import InputError, NotKept, NotNow
from tdq_core.records import index, packing
from tdq_core.records.listing import ENDING, Entry, LeftOut, Memory, Read, listed
from tdq_core.records.record import UNFIT, RunRecord
from tdq_core.system.files import require_folder, user_path, write_atomically
from tdq_core.system.locks import alone
from tdq_core.system.reading import read_json

PROJECT = Path(__file__).resolve().parent.parent.parent
_ID = re.compile(r"[0-9a-f]{16}")
_NAMED = 8
"""Foreign files that are named; the others are counted."""


class Storable(Protocol):
    """A value that has a file of its own."""

    def to_json(self) -> str: ...


V = TypeVar("V", bound=Storable)


class Packing(NamedTuple):
    """How values of a kind that there are many of are kept in an index, see `tdq_core.records.index`."""

    pack: Callable[[Any], bytes]
    unpack: Callable[[bytes], Any]


@dataclass(frozen=True)
class Kind(Generic[V]):
    """What one kind of file holds.

    Attributes:
        name: for sentences; again: what to do about a damaged file.
        folder: inside a folder of runs; '' for the runs themselves.
        identify: the name of a value, which is that of its file.
        read: from plain JSON values; InputError where they are not of this kind.
        packing: None where there are few.
    """

    name: str
    again: str
    folder: str
    identify: Callable[[V], str]
    read: Callable[[Mapping[str, Any]], V]
    packing: Packing | None = None


RUNS = Kind(
    "run", "run it again", "", lambda record: record.run_id, RunRecord.from_dict, Packing(packing.pack, packing.unpack)
)


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
    runs are never changed; one that failed, or is asked for again by name, is replaced.
    """

    def __init__(self, kind: Kind[V], *folders: Path) -> None:
        self.kind = kind
        self.folders = tuple(folder / kind.folder for folder in folders or (runs_folder(), shipped_folder()))

    def get(self, name: str) -> V | None:
        """The value of this id, in the first folder where it can be read; None where it is in none.

        Raises:
            InputError: it is there and cannot be read.
        """
        problem = None
        for folder in self.folders:
            if os.path.lexists(path := folder / f"{name}{ENDING}"):
                try:
                    return self.read(path)
                except InputError as error:
                    problem = problem or error
        if problem:
            raise problem
        return None

    def usable(self, name: str) -> V | None:
        """The value of this id; None where there is none or it cannot be read: what is made again replaces it."""
        with contextlib.suppress(InputError):
            return self.get(name)
        return None

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
        for entry in self._listed()[0]:
            if entry.stem not in seen:
                seen.add(entry.stem)
                yield Path(entry.path)

    def _listed(self) -> tuple[list[Entry], list[str]]:
        """Every file that is named by an id, earlier folders first, and a sentence about what else is there."""
        own: list[Entry] = []
        foreign: list[str] = []
        told: list[str] = []
        for folder in self.folders:
            try:
                for entry in listed(folder):
                    if _ID.fullmatch(entry.stem):
                        own.append(entry)
                    else:
                        foreign.append(f"'{entry.path}'")
            except OSError as error:
                told.append(f"The folder '{folder}' cannot be listed: {error.strerror}.")
        if foreign:
            named = ", ".join(foreign[:_NAMED]) + (f" and {len(foreign) - _NAMED} more" if foreign[_NAMED:] else "")
            told.append(f"Left out, for they are not named by the id of a {self.kind.name}: {named}.")
        return own, told

    def all(self) -> list[V]:
        """Every value; the first file that cannot be read is an InputError."""
        return [self.read(path) for path in self.paths()]

    def found(self, memory: Memory[V] | None = None) -> Found[V]:
        """Every value that can be read, and what was left out: one sentence for each file that cannot be read, one for
        all that are not named by an id. What is damaged in one folder may be whole in the next.

        Args:
            memory: of an earlier reading of these folders; what has not changed since is not read again.
        """
        entries, told = self._listed()
        read = self._read_all(entries, memory or Memory())
        values: dict[str, V] = {}
        left_out: list[str] = []
        for entry in entries:
            found = read[entry.path][1]
            if isinstance(found, LeftOut):
                left_out.append(found.sentence)
            else:
                values.setdefault(entry.stem, found)
        return Found(self.kind, tuple(values.values()), (*left_out, *told))

    def _read_all(self, entries: list[Entry], memory: Memory[V]) -> Read[V]:
        """Each file as it is known, as the index knows it, or as it is read."""
        unknown = memory.unknown(entries)
        kept = self._index() if unknown and len(entries) >= index.FROM else None
        indexed = kept.find(unknown) if kept and len(unknown) > 1 else {}
        read: Read[V] = {}
        new = {}
        for entry in entries:
            value = memory.get(entry) or indexed.get(entry.path)
            if value is None:
                value = self._tried(Path(entry.path))
                if entry.stamp and not isinstance(value, LeftOut):
                    new[entry.path] = (entry.stamp, value)
            read[entry.path] = (entry.stamp, value)
        if kept and new:
            kept.update(new, entries)
        memory.keep(read)
        return read

    def _index(self) -> "index.Index[V] | None":
        if not self.kind.packing or not self.folders[0].is_dir() or self.folders[0] == shipped_folder():
            return None  # what is shipped stays as it is
        return index.Index(self.folders[0], *self.kind.packing)

    def _tried(self, path: Path) -> V | LeftOut:
        try:
            return self.read(path)
        except InputError as error:
            return LeftOut(str(error))

    def require_writable(self) -> None:
        """Return where a value can be written; InputError, in a sentence that names the folder, where none can."""
        require_folder(self.folders[0], f"The folder of {self.kind.name}s", "set TDQ_RUNS to one that can")

    def put(self, value: V) -> Path:
        """Write to a temporary name, then rename: a reader sees the whole value or none.

        Raises:
            NotKept: it cannot be written; the error holds the value.
        """
        path = self.folders[0] / f"{self.kind.identify(value)}{ENDING}"
        try:
            _clear(path)
            return write_atomically(path, value.to_json())
        except NotNow as error:
            raise NotKept(f"This {self.kind.name} could not be kept: {error}", value) from error

    @contextlib.contextmanager
    def alone(self, name: str, *, on_wait: Callable[[], object] = lambda: None) -> Iterator[None]:
        """Be the only one at work on the value of this id: whoever asks for the same meanwhile waits.

        Args:
            on_wait: is called once where somebody else is at work on it.
        """
        folder = self.folders[0]
        with contextlib.ExitStack() as held:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                held.enter_context(alone(folder / f".{name}.lock", on_wait=on_wait))
            except OSError as error:
                raise NotNow(f"The folder '{folder}' cannot be worked in: {error.strerror or error}.") from error
            yield

    def read(self, path: Path) -> V:
        """Read one file; a torn or foreign one, or one that holds another id than its name says, is an error that
        names it."""
        try:
            value = self.kind.read(read_json(path))
            if (held := self.kind.identify(value)) != path.stem:
                raise InputError(f"It holds the {self.kind.name} {held}.")
            return value
        except (OSError, InputError, *UNFIT) as error:
            reason = str(error).removesuffix(".") or type(error).__name__
            raise InputError(
                f"The {self.kind.name} file '{path}' cannot be read: {reason}. Move it away or {self.kind.again}."
            ) from error


def _clear(path: Path) -> None:
    """Set a folder aside that has the name of a file to be written; nothing else is in the way of one."""
    if path.is_dir() and not path.is_symlink():
        with contextlib.suppress(OSError):
            path.rename(path.with_name(f".{path.name}.{os.getpid()}.set-aside"))


class RunStore(Store[RunRecord]):
    """The records of runs."""

    def __init__(self, *folders: Path) -> None:
        super().__init__(RUNS, *folders)
