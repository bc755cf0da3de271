"""The state of a training run as bytes of a file."""

import io
from pathlib import Path
from typing import Any

import torch

from tdq_core.system.reading import Damaged
from tdq_core.system.sealed import read_sealed, sealed


def packed(state: dict[str, Any]) -> bytes:
    held = io.BytesIO()
    torch.save(state, held)
    return sealed(held.getvalue())


def load_state(path: Path, key: str, device: str) -> dict[str, Any] | None:
    """What was kept under `key`, on `device`; None where there is nothing, or what is not as it was written, or another
    run's."""
    try:
        content = io.BytesIO(read_sealed(path))
    except (FileNotFoundError, Damaged):
        return None
    held: dict[str, Any] = torch.load(content, weights_only=True, map_location=device)
    return held if held["key"] == key else None
