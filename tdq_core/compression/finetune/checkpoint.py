"""The state of training in a file, whole or not at all, so that a killed run goes on where it was."""

import contextlib
import hashlib
import io
import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tdq_core.compression.quantize.scheme import Scheme
from tdq_core.errors import NotNow
from tdq_core.graph.state import state_digest
from tdq_core.system.files import write_atomically
from tdq_core.system.reading import Damaged
from tdq_core.system.sealed import read_sealed, sealed

KEPT = 4
"""Checkpoints of stopped trainings that stay, the latest ones."""
AT_WORK_S = 3600.0
"""Who has written within an hour may be at work."""


@dataclass
class State:
    """What a step leaves to the next one, beside the student and the optimizer.

    Attributes:
        step: steps done.
        losses: one a step.
        ranges: of the inputs of layers, see `rounding.InRounding`.
    """

    step: int = 0
    losses: list[float] = field(default_factory=list)
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)


def key_of(student: nn.Module, teacher: nn.Module, images: Tensor, scheme: Scheme | None, recipe: Any) -> str:
    """Name of a training run: everything that decides its result."""
    shown = hashlib.sha256(images.contiguous().numpy().tobytes()).hexdigest()
    parts = (state_digest(student), state_digest(teacher), shown, *map(_written, (scheme, recipe)))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _written(value: Scheme | Any | None) -> str:
    """A value's fields, whatever its class is called: renaming that drops no state."""
    return json.dumps(asdict(value) if value is not None else None, sort_keys=True)


def save(path: Path, key: str, student: nn.Module, optimizer: torch.optim.Optimizer, state: State) -> None:
    """Write through a temporary file in the same folder; where that cannot be, the training goes on without."""
    held = io.BytesIO()
    torch.save({"key": key, "student": student.state_dict(), "optimizer": optimizer.state_dict(), **vars(state)}, held)
    with contextlib.suppress(NotNow):
        write_atomically(path, sealed(held.getvalue()))
    _prune(path.parent)


def resume(path: Path, key: str, student: nn.Module, optimizer: torch.optim.Optimizer) -> State:
    """Load what was saved under the same key into `student` and `optimizer`; a fresh state where there is nothing.

    A file that is not as it was written, or belongs to another run, is left aside; the next save writes over it.
    """
    try:
        held = torch.load(io.BytesIO(read_sealed(path)), weights_only=True)
    except (FileNotFoundError, Damaged):
        return State()
    if held["key"] != key:
        return State()
    student.load_state_dict(held["student"])
    optimizer.load_state_dict(held["optimizer"])
    return State(held["step"], held["losses"], {name: (low, high) for name, (low, high) in held["ranges"].items()})


def _prune(folder: Path) -> None:
    """Of the trainings that were stopped, the latest few can go on; whoever is at work keeps its own by writing it."""
    with contextlib.suppress(OSError):
        files = sorted(folder.glob("*.pt"), key=lambda file: file.stat().st_mtime_ns, reverse=True)
        for old in files[KEPT:]:
            if time.time() - old.stat().st_mtime > AT_WORK_S:
                old.unlink()
