"""Where decomposition and rounding meet: layer by layer, against rounding the dense layer."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tdq_core.cli import app
from tdq_core.layers.methods import METHODS
from tdq_core.prediction.meeting import Meeting, form_label, meetings, totals
from tdq_core.prediction.sensitivity import DENSE, Sensitivities
from tdq_core.specs.precision import PRECISIONS

SHIPPED = sorted((Path(__file__).parents[2] / "cached_runs" / "sensitivities").glob("*.json"))
INTEGER = [row for row in PRECISIONS.values() if row.integer]


@pytest.fixture(params=SHIPPED, ids=lambda path: path.stem[:4])
def found(request: pytest.FixtureRequest) -> Sensitivities:
    return Sensitivities.from_dict(json.loads(request.param.read_text()))


@pytest.mark.parametrize("precision", INTEGER, ids=lambda row: row.name)
def test_a_total_is_the_sum_of_its_layers_and_its_worst_are_the_worst(found: Sensitivities, precision: object) -> None:
    rows = meetings(found, precision)  # type: ignore[arg-type]
    assert [row.layer for row in rows] == [la.name for la in found.tables["outputs"].layers if la.name in found.layers]
    for total in totals(rows, worst=2):
        own = {row.layer: row.factors[total.form] - row.dense for row in rows if total.form in row.factors}
        assert total.layers == len(own)
        assert total.factors - total.dense == pytest.approx(sum(own.values()))
        beyond = sorted((by for by in own.values() if by > 0), reverse=True)[:2]
        assert [by for _, by in total.worst] == pytest.approx(beyond)
        assert all(own[layer] == by for layer, by in total.worst)


def test_fewer_bits_move_the_answers_further_in_every_form(found: Sensitivities) -> None:
    fine, coarse = (meetings(found, PRECISIONS[name]) for name in ("w8a8", "w4a4"))
    ends = {la.name for la in found.tables["outputs"].layers if la.end}
    for a, b in zip(fine, coarse, strict=True):
        same = a.layer in ends
        for small, large in ((a.dense, b.dense), *((a.factors[form], b.factors[form]) for form in a.factors)):
            assert small == large if same else small < large


def test_only_numbers_on_a_grid_have_a_map(found: Sensitivities) -> None:
    assert not meetings(found, PRECISIONS["fp32"])
    assert not meetings(found, PRECISIONS["fp16"])


def test_components_that_cancel_meet_rounding_worst_and_the_correction_mends_it(found: Sensitivities) -> None:
    """The study's finding, in the answers themselves; both ends stay dense unless asked for."""
    ends = {la.name for la in found.tables["outputs"].layers if la.end}
    inner = [row for row in meetings(found, PRECISIONS["int8"]) if row.layer not in ends]
    times = {total.form: total.times for total in totals(inner)}
    assert times["cp"] > 10 * times["cp+epc"] > 10 * 0.5
    assert times["tucker2"] < times["cp+epc"]


def test_the_documents_say_what_was_measured(found: Sensitivities) -> None:
    told = (Path(__file__).parents[2] / "docs" / "intervals.md").read_text()
    numbers = {part.strip(",;()") for part in told.split()}
    times = {total.form: total.times for total in totals(meetings(found, PRECISIONS["int8"]))}
    for form in ("svd", "tucker2", "cp+epc", "cp"):
        assert (f"{times[form]:.0f}" if form == "cp" else f"{times[form]:.1f}") in numbers


def test_as_far_as_the_dense_layer_is_once() -> None:
    (total,) = totals([Meeting("a", 2.0, {"svd": 1.0}), Meeting("b", 1.0, {"svd": 2.0}), Meeting("c", 5.0, {})])
    assert (total.times, total.layers, total.worst) == (1.0, 2, (("b", 1.0),))


def test_every_form_has_a_name_for_people(found: Sensitivities) -> None:
    forms = {form for row in found.layers.values() for form in row.rounding} - {DENSE}
    labels = {form_label(form) for form in forms}
    assert len(labels) == len(forms)
    assert {label.removesuffix(" + EPC") for label in labels} <= {row.label for row in METHODS.values()}


def test_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TDQ_RUNS", str(tmp_path))
    model = Sensitivities.from_dict(json.loads(SHIPPED[0].read_text())).spec.model.name
    told = CliRunner().invoke(app, ["additivity", "--layers", "--model", model])
    assert told.exit_code == 0
    assert "times as far as rounding these layers dense" in told.stdout
    rows = json.loads(CliRunner().invoke(app, ["additivity", "--layers", "--model", model, "--json"]).stdout)
    assert {"model", "layer", "dense", "factors", "precision"} <= set(rows[0])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--layers", "--precision", "fp32"], "'precision' must be one of int8"),
        (["--layers", "--model", "nobody"], "which are kept of alexnet"),
        (["--layers", "--margin", "2"], "A margin is one of runs"),
        (["--precision", "int8"], "A precision is one of --layers"),
    ],
)
def test_what_cannot_be_told_is_said(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TDQ_RUNS", str(tmp_path))
    told = CliRunner().invoke(app, ["additivity", *arguments])
    assert told.exit_code != 0
    assert said in str(told.exception)
