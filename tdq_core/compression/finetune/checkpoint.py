"""The state of training in a file, whole or not at all, so that a killed run goes on where it was."""

import hashlib
import io
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tdq_core.compression.quantize.scheme import Scheme
from tdq_core.graph.state import state_digest
from tdq_core.system.files import write_atomically


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
    """Write through a temporary file in the same folder."""
    held = io.BytesIO()
    torch.save({"key": key, "student": student.state_dict(), "optimizer": optimizer.state_dict(), **vars(state)}, held)
    write_atomically(path, held.getvalue())


def resume(path: Path, key: str, student: nn.Module, optimizer: torch.optim.Optimizer) -> State:
    """Load what was saved under the same key into `student` and `optimizer`; a fresh state where there is nothing.

    A file that is broken or belongs to another run is left aside; the next save writes over it.
    """
    try:
        held = torch.load(path, weights_only=True)
        if held["key"] != key:
            return State()
    except Exception:
        return State()
    student.load_state_dict(held["student"])
    optimizer.load_state_dict(held["optimizer"])
    return State(held["step"], held["losses"], {name: (low, high) for name, (low, high) in held["ranges"].items()})
