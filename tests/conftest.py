"""Fixtures that every test may use."""

import os
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and weights beside the project (`TDQ_SHARED` overrides); skips where it is absent."""
    folder = Path(os.environ.get("TDQ_SHARED") or PROJECT.parent / "shared")
    if not (folder / "weights").is_dir():
        pytest.skip(f"needs the real data and weights in '{folder}' (TDQ_SHARED names another place)")
    return folder
