"""The track record: a point a run that had been predicted, on one scale both ways."""

import pytest
from made_up import record
from msgspec import structs

from dashboard.figures.track import track_figure
from tdq_core.prediction.track import kept
from tdq_core.records.record import RunRecord


def predicted(one: RunRecord, drop: float) -> RunRecord:
    told = {"drop": drop, "low": drop - 0.01, "high": drop + 0.01, "within_noise": False, "runs": 0}
    return structs.replace(one, provenance={**one.provenance, "predicted": told})


def test_only_runs_that_were_predicted_are_drawn_each_at_its_place() -> None:
    plain = [record(name, method=method) for name, method in (("a", "svd"), ("b", "cp"), ("c", "svd"))]
    found = kept([predicted(plain[0], 0.02), predicted(plain[1], 0.3), plain[2]])
    figure = track_figure(found)
    assert len(found) == 2 and figure.layout.yaxis.scaleanchor == "x"
    places = [(x, y) for trace in figure.data[1:] for x, y in zip(trace.x, trace.y, strict=True)]
    for (x, y), run in zip(places, found, strict=True):
        assert (x, y) == pytest.approx((100 * (run.prediction.drop or 0), 100 * run.record.drop()[0]))
    assert all(trace.error_x.array[0] == pytest.approx(1.0) for trace in figure.data[1:])
    diagonal = figure.data[0]
    assert list(diagonal.x) == list(diagonal.y) and diagonal.x[1] >= 31
