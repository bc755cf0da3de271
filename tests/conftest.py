"""Fixtures that every test may use."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import settings

PROJECT = Path(__file__).resolve().parent.parent

# How long an example takes says how busy the machine is, and nothing about the law.
settings.register_profile("tdq", deadline=None)
settings.load_profile("tdq")
# Before any test imports torch, and for the processes that tests start: the nets are small, so that a second thread
# costs more than it gives, and tests run two at a time.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# What one test has found is no other test's: see `tdq_core.system.cache`.
os.environ["TDQ_CACHE_GB"] = "0"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and weights beside the project (`TDQ_SHARED` overrides); skips where it is absent."""
    folder = Path(os.environ.get("TDQ_SHARED") or PROJECT.parent / "shared")
    if not (folder / "weights").is_dir():
        pytest.skip(f"needs the real data and weights in '{folder}' (TDQ_SHARED names another place)")
    return folder


class Answer(NamedTuple):
    """What a command leaves behind."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def tdq(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """`tdq ARGUMENTS` typed in `tmp_path`, with its runs there; in this process, for a new one would import torch."""
    from tdq_core.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TDQ_RUNS", str(tmp_path / "runs"))

    def call(*arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["tdq", *map(str, arguments)])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as end:
            assert end.code is None or isinstance(end.code, int)
            code = end.code or 0
        return Answer(code, *capsys.readouterr())

    return call
