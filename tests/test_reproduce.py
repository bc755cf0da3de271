"""The command on a run's card asks for exactly that run, whatever the run."""

import re
import shlex
from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings
from strategies import specs
from typer.testing import CliRunner

from tdq_core.api import runs as api
from tdq_core.cli import app
from tdq_core.specs import RankRule, RunSpec
from tdq_core.specs.command import command_line


class Stop(Exception):
    """Instead of measuring."""


@pytest.fixture(scope="module")
def asked() -> Iterator[list[RunSpec]]:
    """The specs that commands ask for; nothing is measured."""
    found: list[RunSpec] = []

    def remember(given: RunSpec, **_: object) -> None:
        found.append(given)
        raise Stop

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(api, "run", remember)
        yield found


@settings(max_examples=200)
@given(specs())
@example(RunSpec.of("it's.py:make", "imagenet:/some where/val", weights="random", mean=(0.1, 1 / 3, 0.5),
                    method="tucker2", rule=RankRule("manual", ranks={"a.b": (3, 4), "c": 5, "d": None})))  # fmt: skip
@example(RunSpec.of("m", "digits", method="cp", epc=True, eta=0.05, calibrated=True, finetune=30, precision="w4a8",
                    condition=False, granularity="tensor", ranges="mse",
                    rule=RankRule("ratio", 1.67, policy="later", depth=2.5, multiple=8, budget="macs")))  # fmt: skip
@example(RunSpec.of("m", "digits", method="cp", rule=RankRule("vbmf", 1.0, keep_ends=False)))
def test_the_command_asks_for_the_same_spec(asked: list[RunSpec], spec: RunSpec) -> None:
    words = shlex.split(command_line(spec))
    assert words[0] == "tdq"
    with pytest.raises(Stop):
        CliRunner().invoke(app, words[1:], catch_exceptions=False)
    assert asked.pop() == spec


def test_defaults_are_left_out() -> None:
    assert command_line(RunSpec.of("m", "digits")) == "tdq run --model m --data digits"


@given(specs())
def test_every_option_is_written_once(spec: RunSpec) -> None:
    flags = [word for word in shlex.split(command_line(spec)) if re.fullmatch(r"--[a-z][a-z-]*", word)]
    assert len(flags) == len(set(flags))
