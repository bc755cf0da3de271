"""The page Additivity in squared change of the answers, and its lines against the ratio."""

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from made_up import N, four_cells, record
from test_views import opened, words

from dashboard.facts.additions import ADDS, MORE, addition_rows, additions_of, kind_rows, move_said
from dashboard.facts.scales import SCALES, moves_text, sums_text
from dashboard.figures.additivity import additivity_figure
from dashboard.figures.against_ratio import ratio_figure
from tdq_core.analysis.additivity import find_cells
from tdq_core.analysis.joint_moves import JointMove
from tdq_core.records.record import RunRecord
from tdq_core.records.store import RunStore
from tdq_core.stats.moves import pack_moves


def keeping(one: RunRecord, size: float) -> RunRecord:
    """With answers that moved by `size` in the mean."""
    moved = pack_moves(size * np.linspace(0.9, 1.1, N))
    return msgspec.structs.replace(one, metrics=msgspec.structs.replace(one.metrics, moved=moved))


def cells() -> list[RunRecord]:
    """Two ratios in INT8: the first adds up, the second moves half as far again."""
    a, b, c, d = four_cells()
    more = (record("1", right=N - 20, size=300, method="tucker2", ratio=3.0),
            record("2", right=N - 30, size=300, method="tucker2", ratio=3.0, precision="int8"))  # fmt: skip
    sizes = (0.1, 0.02, 0.121, 0.2, 0.33)
    return [a, *(keeping(one, size) for one, size in zip((b, c, d, *more), sizes, strict=True))]


def test_words_and_rows_say_what_the_groups_say() -> None:
    found = additions_of(find_cells(cells()))
    assert [move_said(one.moved) for one in found] == [ADDS, MORE]
    told = moves_text(found)
    assert "**1 of 2 groups add up within 10 % of the sum**, 1 moves the answers further than the sum" in told
    assert "furthest is Tucker-2, ratio 3, INT8" in told and "(+50." in told
    assert sums_text(found) == "A prediction adds squared changes up: that does not for Tucker-2, INT8."
    assert sums_text(found[:1]) == "A prediction adds squared changes up: that holds for Tucker-2, INT8."
    (kind,) = kind_rows(found)
    assert (kind["change: adds up"], kind["change: more than the sum"]) == (1, 1)
    row = next(row for row in addition_rows(found) if row["run"] == "2" * 16)
    assert row["change: sum (%)"] == pytest.approx(22, rel=1e-2)
    assert row["of the sum (%)"] == pytest.approx(50, rel=2e-2)


def test_old_groups_tell_nothing_of_it_and_say_why() -> None:
    found = additions_of(find_cells(four_cells()))
    assert "1 of 1 groups tell nothing of it: a run was measured before TDQ kept" in moves_text(found)
    assert sums_text(found) == "" and "squared change" not in addition_rows(found)[0]
    assert SCALES["change"].told(found) == []


@pytest.mark.parametrize("name", list(SCALES))
def test_lines_join_what_differs_in_the_ratio_alone_on_either_scale(name: str) -> None:
    found, scale = additions_of(find_cells(cells())), SCALES[name]
    (line,) = [t for t in ratio_figure(found, scale).data if t.customdata is not None]
    assert list(line.customdata) == ["2" * 16, "d" * 16], "by the ratio that was measured"
    by_run = {one.run_id: 100 * scale.value(one)[0] for one in found}
    assert list(line.y) == pytest.approx([by_run[run] for run in line.customdata])
    columns = additivity_figure(found, scale)
    assert sorted(y for t in columns.data for y in t.y) == pytest.approx(sorted(by_run.values()))
    assert len(ratio_figure(found, scale).layout.shapes) == 2, "the margin is shaded, and zero a line"


def test_other_rules_are_not_joined() -> None:
    found = additions_of(find_cells(cells()))
    apart = (found[0], found[1]._replace(line="ranks by hand"))
    assert len([t for t in ratio_figure(apart, SCALES["points"]).data if t.customdata is not None]) == 2


def test_the_page_shows_the_scale_that_is_asked_for(app: str, filled: Path) -> None:
    at = opened(app, "views/additivity.py", scale="change")
    assert "None of these groups is told on this scale" in at.info[0].value
    for one in cells():
        RunStore(filled).put(one)
    at = opened(app, "views/additivity.py", scale="change")
    found = additions_of(find_cells(cells()))
    assert isinstance(found[0].moved, JointMove) and moves_text(found) in words(at)
    assert any("in per cent of that sum" in caption.value for caption in at.caption)
    assert "of the sum (%)" in at.dataframe[1].value
    lines = opened(app, "views/additivity.py", scale="change", drawn="ratio")
    shown = [json.loads(page.get("plotly_chart")[0].proto.spec) for page in (at, lines)]
    assert [any("lines" in trace.get("mode", "") for trace in figure["data"]) for figure in shown] == [False, True]
    assert any("are joined" in caption.value for caption in lines.caption)
