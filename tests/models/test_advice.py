"""What a complaint advises works when it is done."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tdq_core.cli import app
from tdq_core.errors import InputError

NET = """
from torch import nn

def make():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))
"""


def test_the_input_size_that_is_advised_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TDQ_RUNS", str(tmp_path))
    (tmp_path / "net.py").write_text(NET)
    asked = ["layers", "--model", f"{tmp_path / 'net.py'}:make", "--weights-random"]
    refused = CliRunner().invoke(app, asked)
    assert isinstance(refused.exception, InputError)
    advised = re.search(r"input size, for example (\S+?)\.?$", str(refused.exception))
    assert advised, refused.exception
    done = CliRunner().invoke(app, [*asked, "--input-size", advised[1]], catch_exceptions=False)
    assert done.exit_code == 0
