"""docs/imagenet.md as it stands: its commands, on a sample of ImageNet, weights in a file of torchvision's format."""

import csv
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tdq_core.api import runs as api
from tdq_core.errors import RunFailed
from tdq_core.specs import RunSpec
from tdq_core.system.torchvision_compat import torchvision

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "imagenet.md").read_text()
SET_UP, COMMANDS = re.findall(r"```sh\n(.*?)```", PAGE, re.S)


FOUR = {("none", "fp32", False), ("tucker2", "fp32", False), ("none", "int8", False), ("tucker2", "int8", False)}
"""Method, precision, fitted to outputs: the four cells of additivity."""
OWN = ("tucker2", "int8", True)


def test_the_pages_commands_ask_for_the_four_cells_and_tdqs_own_way(tdq: Callable[..., Any], monkeypatch: Any) -> None:
    """Every `tdq run` of the page, read by the command line; nothing is opened."""
    asked: list[RunSpec] = []

    def remember(spec: RunSpec, **_: object) -> None:
        asked.append(spec)
        raise RunFailed("Read.")

    monkeypatch.setattr(api, "run", remember)
    names = dict(re.findall(r"^(\w+)=(\S+)", SET_UP, re.M))
    lines = re.sub(r"\$(\w+)", lambda m: names[m[1]], COMMANDS).splitlines()
    runs = [words[1:] for line in lines if (words := shlex.split(line, comments=True))[1] == "run"]
    assert [tdq(*words).stderr for words in runs] == ["tdq: Read.\n"] * 5
    assert {(s.method, s.precision.name, s.calibrated) for s in asked} == FOUR | {OWN}
    assert len({(s.model, s.images.data, s.images.samples) for s in asked}) == 1
    four = [s.rule for s in asked if s.rule and not s.calibrated]
    assert len(four) == 2 and four[0] == four[1], "the same ranks in fp32 and in INT8"


@pytest.mark.long
def test_the_pages_commands_run_and_give_the_four_cells(shared: Path, tmp_path: Path) -> None:
    """A local file stands in for the download: it lies where torch.hub would put it, under its name."""
    torch.manual_seed(0)
    weights = tmp_path / "weights.pth"
    torch.save(torchvision.models.resnet18().state_dict(), weights)
    names = dict(re.findall(r"^(\w+)=(\S+)", SET_UP, re.M))
    assert names.keys() == {"IMAGENET", "CALIB", "N", "MODEL"}
    values = names | {"IMAGENET": str(shared / "imagenet-sample"), "N": "20", "MODEL": "resnet18"}
    values["CALIB"] = values["IMAGENET"]
    script = "\n".join(
        line.replace("--calib-samples 256", "--calib-samples 24").replace("$MODEL", f"$MODEL --weights {weights}", 1)
        for line in COMMANDS.replace("tdq ", f"{sys.executable} -m tdq_core ").splitlines()
    )
    env = os.environ | values | {"TDQ_RUNS": str(tmp_path / "runs")}
    done = subprocess.run(["sh", "-ec", script], env=env, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:] + done.stdout[-2000:]
    records = [json.loads(p.read_text()) for p in (tmp_path / "runs").glob("*.json")]
    assert [r["state"] for r in records] == ["complete"] * 5
    assert {(r["metrics"]["n"], r["provenance"]["split"]) for r in records} == {(20, "imagenet/val")}
    assert {r["provenance"]["weights"] for r in records} == {"weights.pth"}
    cells = {(r["spec"]["method"], r["spec"]["precision"], r["spec"]["calibrated"]) for r in records}
    assert cells == FOUR | {OWN}
    rows = csv.DictReader((tmp_path / "imagenet.csv").read_text().splitlines())
    assert {r["run_id"] for r in rows if r["model"] == "resnet18"} == {r["run_id"] for r in records}
