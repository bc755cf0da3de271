"""Options that go together: what a preset sets, what the command names stays, and what a bare ratio is taken for."""

import pytest
import typer
from typer.testing import CliRunner

from tdq_core.cli.options import takes_spec
from tdq_core.errors import InputError
from tdq_core.specs import Decomposition, ImageSpec, ModelSpec, PrecisionSpec, RunSpec, Treatment
from tdq_core.specs.choices import PRESETS, USUAL_PRESET

SUBJECT = ("--model", "digits_resnet", "--data", "digits")


def asked(*words: str) -> tuple[RunSpec, str]:
    """The run that a command's words ask for, and what was said on stderr."""
    found: list[RunSpec] = []
    app = typer.Typer()

    @app.command()
    @takes_spec(ModelSpec, ImageSpec, Decomposition, Treatment, PrecisionSpec, RunSpec, aim="target")
    def command(spec: RunSpec, target: str | None = None) -> None:
        found.append(spec)

    done = CliRunner().invoke(app, [*SUBJECT, *words], catch_exceptions=True)
    if isinstance(done.exception, InputError):
        raise done.exception
    return found[0], done.stderr


@pytest.mark.parametrize("words", [("--ratio", "2"), ("--target", "drop<=1%")])
def test_a_bare_ratio_is_the_best_known_way_and_that_is_said(words: tuple[str, ...]) -> None:
    spec, said = asked(*words)
    whole = spec.to_dict()
    rule = spec.rule
    assert rule and rule.policy == PRESETS[USUAL_PRESET].options["policy"]
    assert all(whole[key] == value for key, value in PRESETS[USUAL_PRESET].options.items() if key in whole)
    assert f"--preset {USUAL_PRESET}" in said
    if words[0] == "--ratio":
        assert asked("--preset", USUAL_PRESET, *words) == (spec, "")


@pytest.mark.parametrize("name", sorted(PRESETS))
@pytest.mark.parametrize(("flag", "key", "value"), [(("--method", "tucker2"), "method", "tucker2")])
def test_what_a_command_names_itself_stays(name: str, flag: tuple[str, ...], key: str, value: str) -> None:
    spec, said = asked("--preset", name, "--ratio", "2", *flag)
    assert spec.to_dict()[key] == value and said == ""


def test_old_commands_keep_their_meaning() -> None:
    spec, said = asked("--method", "tucker2", "--ratio", "2")
    assert (spec.method, spec.calibrated, said) == ("tucker2", False, "")
    assert spec.rule and spec.rule.policy == "uniform"
    assert asked() == (RunSpec.of("digits_resnet", "digits"), "")


@pytest.mark.parametrize("words", [("--method", "none", "--ratio", "2"), ("--ranks", "{}"), ("--energy", "0.9")])
def test_other_ranks_need_a_method_as_before(words: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match=r"takes no ranks|names no layer|at least one"):
        asked(*words)


def test_an_unknown_preset_is_one_sentence() -> None:
    with pytest.raises(InputError, match=r"preset.*best.*Got 'mine'"):
        asked("--preset", "mine", "--ratio", "2")
