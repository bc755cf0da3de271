"""Other people's code may do to the process what it likes: it is as it was afterwards, and stdout holds results."""

import builtins
import gc
import json
import logging
import os
import random
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tdq_core.errors import InputError
from tdq_core.models.loading import load_model
from tdq_core.specs import ModelSpec
from tdq_core.system.containment import contained

DEEDS: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "folder": (lambda: os.chdir("/"), os.getcwd),
    "environment": (lambda: os.environ.update(HOME="x", NEW="y"), lambda: dict(os.environ)),
    "path": (lambda: sys.path.insert(0, "/x"), lambda: list(sys.path)),
    "arguments": (lambda: sys.argv.append("--x"), lambda: list(sys.argv)),
    "stdout": (lambda: setattr(sys, "stdout", None), lambda: sys.stdout),
    "stderr": (lambda: setattr(sys, "stderr", None), lambda: sys.stderr),
    "random": (random.random, random.getstate),
    "numpy": (np.random.random, lambda: np.random.get_state()[2]),
    "numpy errors": (lambda: np.seterr(all="raise"), np.geterr),
    "draws": (lambda: torch.rand(3), lambda: torch.get_rng_state().tolist()),
    "dtype": (lambda: torch.set_default_dtype(torch.float64), torch.get_default_dtype),
    "device": (lambda: torch.set_default_device("meta"), lambda: torch.zeros(1).device),
    "gradients": (lambda: torch.set_grad_enabled(False), torch.is_grad_enabled),
    "threads": (lambda: torch.set_num_threads(3), torch.get_num_threads),
    "matmul": (lambda: torch.set_float32_matmul_precision("medium"), torch.get_float32_matmul_precision),
    "warnings": (lambda: warnings.filterwarnings("ignore", "deed"), lambda: list(warnings.filters)),
    "handlers": (lambda: signal.signal(signal.SIGUSR1, signal.SIG_IGN), lambda: signal.getsignal(signal.SIGUSR1)),
    "log level": (lambda: logging.root.setLevel(1), lambda: logging.root.level),
    "log handlers": (lambda: logging.root.addHandler(logging.NullHandler()), lambda: list(logging.root.handlers)),
    "print": (lambda: setattr(builtins, "print", repr), lambda: builtins.print),
    "collector": (gc.disable, gc.isenabled),
}


@pytest.mark.parametrize("name", DEEDS)
def test_what_code_does_to_the_process_is_undone(name: str) -> None:
    deed, state = DEEDS[name]
    before = state()
    with pytest.raises(KeyError), contained():  # also where it fails in between
        deed()
        assert state() != before, "the deed shows"
        raise KeyError
    assert state() == before


def test_the_command_line_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["tdq", "run", "--json"])
    with contained(program="net.py"):
        assert sys.argv == ["net.py"]
    assert sys.argv == ["tdq", "run", "--json"]


def test_an_exit_is_a_sentence_but_not_one_that_is_asked_for() -> None:
    class Asked(SystemExit):
        pass

    for code, shown in ((None, 0), (0, 0), (3, 3), ("bye", 1)):
        with pytest.raises(InputError, match=rf"^Doing it ended the program \(exit code {shown}\).*__main__"):
            with contained("Doing it"):
                raise SystemExit(code)
    for passing in (Asked, KeyboardInterrupt):
        with pytest.raises(passing), contained():
            raise passing


LOUD = """
import argparse, atexit, os, sys
from torch import nn
print("importing")
os.system("echo a child")
atexit.register(print, "goodbye")
parser = argparse.ArgumentParser()
parser.add_argument("--epochs", default=1)
parser.parse_args()

class Net(nn.Sequential):
    def forward(self, x):
        print("running"), os.write(1, b"raw")
        return super().forward(x)

def net():
    print("building")
    return Net(nn.Conv2d(1, 10, 8), nn.Flatten())

def quits():
    sys.exit(0)
"""


def test_json_is_all_that_is_printed_on_stdout(tmp_path: Path) -> None:
    """In a process of its own: what compiled code and children print does not pass through Python."""
    (tmp_path / "loud.py").write_text(LOUD)
    command = [sys.executable, "-m", "tdq_core", "run", "--model", "loud.py:net", "--data", "digits", "--samples", "10"]
    command += ["--input-size", "8", "--mean", "0.3", "--std", "0.4", "--method", "svd", "--energy", "0.9", "--json"]
    environment = os.environ | {"TDQ_RUNS": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert json.loads(done.stdout)["spec"]["model"] == "loud.py:net", done.stderr
    for said in ("importing", "a child", "building", "running", "raw", "goodbye"):
        assert said in done.stderr


@pytest.mark.parametrize(
    "text, says",
    [
        ("import sys; sys.exit(0)", r"Importing '.*' ended the program \(exit code 0\)"),
        ("import argparse as a; p = a.ArgumentParser(); p.add_argument('x'); p.parse_args()", "exit code 2"),
        ("def net(): raise SystemExit", "Calling the factory '.*' ended the program"),
        ("def net(: pass", "SyntaxError"),
        ("def net(): return net()", "RecursionError"),
        ("class Odd(BaseException): pass\nraise Odd('so')", "Odd: so"),
        ("def net(classes, *, width): pass", r"needs arguments \(classes, width\)"),
        ("def net(): return 1, 'x'", "Got a tuple of int, str"),
        ("import absent_neighbour", "No module named 'absent_neighbour'"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_sentence(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "odd.py").write_text(text)
    with pytest.raises(InputError, match=says) as caught:
        load_model(ModelSpec(f"{tmp_path}/odd.py:net", input_size=(8, 8)))
    assert "\n" not in str(caught.value)
