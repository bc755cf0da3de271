"""What a job's folder holds, as values: a request, progress, a result, and whether its worker lives. No torch here.

Anybody may have put anything there: whatever cannot be read is a `Damaged` with its reason, or is told as nothing, and
no other job suffers.
"""

import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args

import msgspec
from msgspec import Meta

from tdq_core.errors import InputError
from tdq_core.recipes.target import call_of, parse_target
from tdq_core.records.bounds import Natural
from tdq_core.records.record import Kept, read_kept
from tdq_core.specs import RunSpec
from tdq_core.specs.formats import FORMATS
from tdq_core.specs.option import require_choice
from tdq_core.sweeps.grid import grid_of
from tdq_core.sweeps.spec import sweep_of
from tdq_core.system.locks import is_held
from tdq_core.system.reading import Damaged, open_file, plain_json, read_bytes, read_json

Kind = Literal["run", "layers", "components", "recipe", "sensitivity", "export", "bench", "sweep", "layer_times"]
State = Literal["queued", "running", "done", "failed", "cancelled", "lost"]
Moment = Annotated[float, Meta(ge=0, le=1e12)]
_TAIL = 1 << 14
"""Bytes at either end of a progress file that are looked at: an event takes about a hundred."""


class Request(Kept, frozen=True):
    """What a worker is asked to do.

    Attributes:
        kind: 'run' (measure `spec`), 'layers' (read the layer table of its model), 'components' (study its CP),
            'recipe' (find what meets `target` on its model and images, with `finetune` steps of distillation; where it
            bounds a drop, at the `least` size or latency, '' being size),
            'sensitivity' (measure what each of its layers does to the answers), 'export' (write the run `run_id`, of
            `spec`, as a file of `format`), 'bench' (time it), 'sweep' (measure every point of a grid) or 'layer_times'
            (time each of its layers in every form, at its precision).
        allowed_models: models that are not registered but may be loaded; the worker refuses all others.
        sweep: the grid, as the tables of a sweep file; `spec` is one of its runs.
    """

    kind: Kind
    spec: RunSpec
    allowed_models: tuple[str, ...] = ()
    target: str = ""
    finetune: Natural = 0
    least: str = ""
    run_id: str = ""
    format: str = ""
    sweep: dict[str, Any] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        require_choice("kind of job", self.kind, get_args(Kind))
        if self.kind == "recipe":
            call_of(parse_target(self.target), least=self.least or None)
        if self.kind == "sweep":
            grid_of(sweep_of(self.sweep))
        if self.kind == "export":
            require_choice("format", self.format, FORMATS)

    def to_json(self) -> str:
        plain = {name: msgspec.to_builtins(getattr(self, name)) for name in self.__struct_fields__}
        return json.dumps(plain | {"spec": self.spec.to_dict()}, indent=1)

    @classmethod
    def from_json(cls, text: str | bytes) -> "Request":
        """The inverse of `to_json`; InputError where it is none."""
        try:
            return read_kept(plain_json(text), cls, "a job's request")
        except Damaged as error:
            raise InputError(f"This is not a job's request: {error}.") from error


class Made(NamedTuple):
    """What a job has left: a 'run', a 'study' or a 'recipe', and its id."""

    kind: str
    id: str


class Result(Kept, frozen=True):
    """How a job ended.

    Attributes:
        time: when, in seconds since 1970.
        reason: one sentence, where it failed; of a sweep that is done, what is missing.
        run_id, study_id, recipe_id: what it made, at most one of them.
        reused: it was there already.
    """

    state: Literal["done", "failed", "cancelled", "lost"]
    time: Moment = 0.0
    reason: str | None = None
    run_id: str | None = None
    study_id: str | None = None
    recipe_id: str | None = None
    reused: bool = False

    @property
    def made(self) -> Made | None:
        found = {"run": self.run_id, "study": self.study_id, "recipe": self.recipe_id}
        return next((Made(kind, name) for kind, name in found.items() if name), None)


class Event(Kept, frozen=True):
    """One line of a progress file; `time` in seconds since 1970."""

    stage: str
    done: Natural
    total: Natural
    time: Moment


class Progress(NamedTuple):
    """When the work began, and the latest that is known of it."""

    begun: float
    latest: Event


@dataclass(frozen=True)
class Job:
    """A submitted request; its folder's name sorts by the time of submission."""

    folder: Path

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def request(self) -> Request:
        """InputError where it cannot be read."""
        path = self.folder / "request.json"
        try:
            return Request.from_json(read_bytes(path))
        except (InputError, FileNotFoundError, Damaged) as error:
            raise InputError(f"The request of a job, '{path}', cannot be read: {error}") from error

    def is_alive(self) -> bool:
        """Whether the worker still holds its lock; the system releases it when the process ends, however that
        happens."""
        return is_held(self.folder / "alive")

    def result(self) -> Result | None:
        """How it ended; None where that is not written, Damaged where it cannot be read."""
        try:
            return read_kept(read_json(self.folder / "result.json"), Result, "a job's result")
        except FileNotFoundError:
            return None
        except (InputError, Damaged) as error:
            raise Damaged(f"'{self.folder / 'result.json'}' cannot be read: {error}") from error

    def pid(self) -> int | None:
        """The worker's, which leads a group of its own; None where that is not known."""
        with contextlib.suppress(FileNotFoundError, Damaged, ValueError):
            pid = int(read_bytes(self.folder / "pid", most=_TAIL))
            return pid if pid > 1 else None
        return None

    def last_words(self) -> str:
        """The last line that the worker said, at most 200 characters; '' where it said nothing."""
        with contextlib.suppress(FileNotFoundError, Damaged):
            _, end = _ends(self.folder / "stderr.txt")
            lines = end.decode(errors="replace").strip().splitlines()
            return lines[-1].strip()[:200] if lines else ""
        return ""


def read_progress(path: Path) -> Progress | None:
    """The first and the latest event of a progress file, which is read at its ends only; None where there is none.

    Its last line may be torn, for it is still being written, and lines that are damaged tell nothing.
    """
    try:
        begin, end = _ends(path)
    except (FileNotFoundError, Damaged):
        return None
    first = next(filter(None, map(_event, begin.splitlines())), None)
    latest = next(filter(None, map(_event, reversed(end.splitlines()))), first)
    return Progress((first or latest).time, latest) if latest else None


def _event(line: bytes) -> Event | None:
    with contextlib.suppress(ValueError, RecursionError):
        return msgspec.json.decode(line, type=Event)
    return None


def _ends(path: Path) -> tuple[bytes, bytes]:
    """What a file begins and ends with; raises as `read_bytes`."""
    with open_file(path) as file:
        begin = file.read(_TAIL)
        file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
        return begin, file.read(_TAIL)
