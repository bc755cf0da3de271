"""The state of a training run as bytes of a file."""

import io
from pathlib import Path
from typing import Any

import torch


def packed(state: dict[str, Any]) -> bytes:
    held = io.BytesIO()
    torch.save(state, held)
    return held.getvalue()


def load_state(path: Path, key: str, device: str) -> dict[str, Any] | None:
    """What was kept under `key`, on `device`; None where there is nothing, or a broken file, or another run's."""
    try:
        held = torch.load(path, weights_only=True, map_location=device)
        return held if held["key"] == key else None
    except Exception:
        return None
