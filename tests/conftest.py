"""Fixtures that every test may use."""

import os
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent

# Before any test imports torch, and for the processes that tests start: the nets are small, so that a second thread
# costs more than it gives, and tests run two at a time.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and weights beside the project (`TDQ_SHARED` overrides); skips where it is absent."""
    folder = Path(os.environ.get("TDQ_SHARED") or PROJECT.parent / "shared")
    if not (folder / "weights").is_dir():
        pytest.skip(f"needs the real data and weights in '{folder}' (TDQ_SHARED names another place)")
    return folder
