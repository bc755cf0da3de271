"""The command on a run's card asks for exactly that run."""

import shlex

import pytest
from typer.testing import CliRunner

from tdq_core.cli import app
from tdq_core.specs import RankRule, RunSpec
from tdq_core.specs.command import command_line

SPECS = [
    RunSpec.of("digits_resnet", "digits"),
    RunSpec.of("resnet50", "imagenet:/some where/val", weights="random", method="auto", rule=RankRule("ratio", 1.67)),
    RunSpec.of("m", "digits", calib="folder:c", method="svd", rule=RankRule("energy", 0.955), precision="int8",
            backend="onnxruntime", samples=20, calib_samples=64, seed=3, latency=True),
    RunSpec.of("m", "digits", method="cp", rule=RankRule("vbmf", 1.0, keep_ends=False)),
    RunSpec.of("m", "digits", method="cp", rule=RankRule("vbmf", 0.8)),
    RunSpec.of("it's.py:make", "folder:d", weights="w.th", mean=(0.1, 1 / 3, 0.5), std=(0.2, 0.2, 0.2),
            input_size=(224, 160), method="tucker2", rule=RankRule("manual", ranks={"a.b": (3, 4), "c": 5, "d": None})),
]  # fmt: skip


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: command_line(s)[8:60])
def test_the_command_asks_for_the_same_spec(spec: RunSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[RunSpec] = []

    def remember(given: RunSpec, **_: object) -> None:
        asked.append(given)
        raise Stop

    monkeypatch.setattr("tdq_core.api.runs.run", remember)
    words = shlex.split(command_line(spec))
    assert words[0] == "tdq"
    with pytest.raises(Stop):
        CliRunner().invoke(app, words[1:], catch_exceptions=False)
    assert asked == [spec]


class Stop(Exception):
    """Instead of measuring."""


def test_defaults_are_left_out() -> None:
    assert command_line(RunSpec.of("m", "digits")) == "tdq run --model m --data digits"
