"""Recipes measure a pipeline only where it can still win, and find what they would have found without that."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_recipe import PLAIN, record

from tdq_core.pipeline.run import Outcome
from tdq_core.pipeline.session import Session
from tdq_core.recipes import search
from tdq_core.recipes.candidates import ARMS, RATIOS
from tdq_core.recipes.report import Report
from tdq_core.recipes.target import parse_target
from tdq_core.records.record import RunRecord
from tdq_core.specs import RunSpec

TARGET = parse_target("drop<=1%")
N = 1000


class Pipelines:
    """Stands for real ones: each keeps the drop up to the ratio of its number, and none beyond."""

    def __init__(self, ends: dict[str, int]) -> None:
        self.ends, self.asked = ends, 0

    def __call__(self, spec: RunSpec, **_: object) -> Outcome:
        self.asked += 1
        if spec.rule is None:
            return Outcome(self._record(0, 1000), False)
        name = spec.method if spec.calibrated else "study"
        lost = 0 if RATIOS.index(spec.rule.value) <= self.ends[name] else N // 4
        return Outcome(self._record(lost, round(1000 / spec.rule.value)), False)

    def _record(self, lost: int, size: int) -> RunRecord:
        return record(list(range(lost)), n=N, size=size, ms=1.0)


class Told:
    """Stands for predictions: `least` for every run, and no first ratio."""

    def __init__(self, least: float | None) -> None:
        self.least = least

    def last(self, specs: object) -> None:
        return None

    def least_loss(self, spec: RunSpec) -> float | None:
        return self.least


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TDQ_RUNS", str(tmp_path))


def found(monkeypatch: pytest.MonkeyPatch, ends: dict[str, int], least: float | None) -> tuple[Report, int]:
    """The report, and how many runs were asked for."""
    pipelines = Pipelines(ends)
    with monkeypatch.context() as patch:
        patch.setattr(search, "run", pipelines)
        patch.setattr(search, "Foreseen", lambda *_: Told(least))
        patch.setattr(Session, "predictor", lambda *_: object())
        return search.find_recipe(PLAIN, TARGET), pipelines.asked


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.tuples(*(st.integers(-1, len(RATIOS) - 1) for _ in ARMS)))
def test_the_answer_is_that_of_the_pipeline_that_goes_furthest(
    monkeypatch: pytest.MonkeyPatch, places: tuple[int, ...]
) -> None:
    ends = {arm.name: place for arm, place in zip(ARMS, places, strict=True)}
    report, asked = found(monkeypatch, ends, None)
    assert report.chosen
    furthest = max(places)
    assert report.chosen.ratio == (RATIOS[furthest] if furthest >= 0 else None)
    assert all(p.ratio > RATIOS[ends[cut.arm]] or cut.beyond < p.ratio for cut in report.cut for p in report.tried
               if p.arm == cut.arm and p.ratio)  # fmt: skip
    assert asked <= 2 + 4 * len(ARMS)
    assert Report.from_dict(report.to_dict()) == report


def test_a_pipeline_that_is_predicted_to_miss_is_not_measured_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = dict.fromkeys((arm.name for arm in ARMS), 5)
    first, *others = (arm.name for arm in ARMS)
    report, asked = found(monkeypatch, ends, 0.034)
    assert {p.arm for p in report.tried} == {"dense", first}
    assert [(cut.arm, cut.beyond, cut.predicted) for cut in report.cut] == [(o, RATIOS[5], 0.034) for o in others]
    for other in others:
        assert any(f"'{other}' was not measured" in s and "3.40 points" in s for s in report.sentences)
    measured, more = found(monkeypatch, ends, 0.004)
    assert {p.arm for p in measured.tried} == {"dense", *ends} and more > asked
    assert all(cut.predicted is None for cut in measured.cut)
    assert any("looked at beyond ratio" in s for s in measured.sentences)


def test_a_target_of_size_follows_every_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "run", Pipelines(dict.fromkeys((arm.name for arm in ARMS), 3)))
    report = search.find_recipe(PLAIN, parse_target("ratio>=3"))
    assert not report.cut and {p.arm for p in report.tried} == {"dense", *(arm.name for arm in ARMS)}
