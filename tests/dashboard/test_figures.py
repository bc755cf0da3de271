"""What the charts show, compared as values."""

import itertools

import pytest
from made_up import N, four_cells, layer_table, record
from msgspec.structs import replace

from dashboard.figures.additivity import (
    AdditivityInfo,
    AdditivityPoint,
    additivity_figure,
    additivity_info,
    joined_runs,
    what_is_seen,
)
from dashboard.figures.plan import MOST_NAMES, PlanBar, plan_bars, plan_figure
from dashboard.figures.tradeoff import (
    X_AXES,
    Y_AXES,
    Point,
    TradeoffInfo,
    better_corner,
    log_ticks,
    outside_text,
    tradeoff_figure,
    tradeoff_info,
)
from dashboard.words.palette import ACCENT, Look, look_of
from tdq_core.analysis.additivity import find_cells
from tdq_core.ranks.plan import make_plan
from tdq_core.specs import RankRule
from tdq_core.specs.variant import Variant
from tdq_core.stats.intervals import paired_mean


def test_tradeoff_info_whole() -> None:
    a, _, _, d = records = four_cells()
    info = tradeoff_info([a, d], chosen=d.run_id)
    points = tuple(
        Point(r.run_id, r.metrics.bytes, *r.drop(), look_of(r.spec), p.facts)  # type: ignore[union-attr]
        for r, p in zip((a, d), info.points, strict=True)
    )
    assert info == TradeoffInfo("bytes", "drop", points, (d.run_id, a.run_id), d.run_id)
    assert tradeoff_info(records, chosen="elsewhere").chosen is None


@pytest.mark.parametrize("y_axis", list(Y_AXES))
def test_what_lies_outside_the_picture_is_counted_and_the_chosen_run_never_does(y_axis: str) -> None:
    records = [*four_cells(), record("e", right=40, size=90)]
    info = tradeoff_info(records, y_axis=y_axis, span=0.06)
    assert info.outside == 2 and outside_text(info).startswith("2 of 5 runs lose more than 6 points")
    low, high = tradeoff_figure(info).layout.yaxis.range
    assert sum(not low <= 100 * p.y <= high for p in info.points) == 2
    shown = tradeoff_info(records, y_axis=y_axis, span=0.06, chosen="e" * 16)
    low, high = tradeoff_figure(shown).layout.yaxis.range
    assert shown.outside == 0 and all(low <= 100 * p.y <= high for p in shown.points)
    assert outside_text(tradeoff_info(records, y_axis=y_axis)) == ""


def test_facts_are_complete() -> None:
    (point,) = tradeoff_info([four_cells()[3]]).points
    for fact in (
        "Tucker-2, ratio 2, INT8, conditioned, ONNX Runtime",
        "n = 200",
        "+9.00 points",
        "8.00x smaller",
        "run dddddddd",
    ):
        assert fact in point.facts.replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.parametrize("x_axis,y_axis", list(itertools.product(X_AXES, Y_AXES)))
def test_the_front_holds_what_nothing_beats_on_both_axes(x_axis: str, y_axis: str) -> None:
    records = [
        record(n, right=right, size=size)
        for n, right, size in zip("abcdef", (196, 190, 196, 150, 190, 100), (900, 500, 800, 500, 500, 100), strict=True)
    ]
    info = tradeoff_info(records, x_axis=x_axis, y_axis=y_axis)
    beaten = {
        r.run_id
        for r, other in itertools.permutations(records, 2)
        if _size(other) <= _size(r)
        and _top1(other) >= _top1(r)
        and (_size(other), _top1(other)) != (_size(r), _top1(r))
    }
    assert set(info.front) == {r.run_id for r in records} - beaten
    assert better_corner(info).startswith("Upper" if y_axis == "top1" else "Lower")


def _size(one):  # type: ignore[no-untyped-def]
    return one.metrics.params


def _top1(one):  # type: ignore[no-untyped-def]
    return one.metrics.top1


def test_every_point_is_drawn_once_in_its_colour_and_symbol_with_its_run() -> None:
    info = tradeoff_info(four_cells(), chosen="a" * 16)
    drawn = {
        run: (trace.marker.color, trace.marker.symbol, y)
        for trace in tradeoff_figure(info).data
        if trace.hovertemplate
        for run, y in zip(trace.customdata, trace.y, strict=True)
    }
    assert drawn == {p.run_id: (p.look.variant.colour, p.look.numbers.symbol, 100 * p.y) for p in info.points}
    rings = [t for t in tradeoff_figure(info).data if t.marker.color == ACCENT]
    assert [list(t.customdata) for t in rings] == [["a" * 16]]


def test_intervals_are_drawn_on_demand() -> None:
    info = tradeoff_info(four_cells()[3:])
    (bars,) = [t.error_y for t in tradeoff_figure(info, intervals=True).data if t.error_y.array is not None]
    (point,) = info.points
    assert (bars.array[0], bars.arrayminus[0]) == (100 * (point.high - point.y), 100 * (point.y - point.low))
    assert all(t.error_y.array is None for t in tradeoff_figure(info).data)


def test_additivity_info_whole() -> None:
    a, b, c, d = cells = [r.metrics.correct().astype(float) for r in four_cells()]  # type: ignore[union-attr]
    assert len(cells[0]) == N
    expected = AdditivityPoint(
        "d" * 16,
        "Tucker-2, ratio 2, INT8, conditioned, ONNX Runtime",
        Look(Variant("tucker2"), "int8"),
        paired_mean(a - b),
        paired_mean(a - c),
        paired_mean(2 * a - b - c, largest=2),
        paired_mean(a - d),
        paired_mean(b + c - d - a, largest=2),
    )
    assert additivity_info(find_cells(four_cells())) == AdditivityInfo((expected,))
    assert [r.run_id[0] for r in joined_runs(find_cells(four_cells()))] == ["a", "b", "c", "d"]


def _point(name: str, low: float, high: float) -> AdditivityPoint:
    zero = (0.0, 0.0, 0.0)
    return AdditivityPoint(
        name, f"run {name}", Look(Variant("cp"), "int8"), zero, zero, zero, zero, ((low + high) / 2, low, high)
    )


def test_what_is_seen_is_counted() -> None:
    info = AdditivityInfo(
        (_point("a", -0.01, 0.02), _point("b", 0.01, 0.05), _point("c", -0.09, -0.03), _point("d", 0, 1e-9))
    )
    assert (info.containing_zero(), info.above_zero(), info.below_zero()) == (2, 1, 1)
    seen = what_is_seen(info)
    assert seen.startswith("2 of 4 interaction intervals contain zero: 1 lies above zero")
    assert "; 1 lies below zero" in seen and seen.endswith(
        "\N{MINUS SIGN}6.00 points [\N{MINUS SIGN}9.00, \N{MINUS SIGN}3.00], for run c."
    )


def test_the_additivity_figure_spans_its_intervals_and_shows_every_point() -> None:
    info = additivity_info(find_cells(four_cells()))
    identity, points = additivity_figure(info).data
    (point,) = info.points
    assert list(identity.x) == list(identity.y)
    assert (
        identity.x[0]
        <= 100 * min(point.summed[1], point.joint[1])
        < 100 * max(point.summed[2], point.joint[2])
        <= identity.x[1]
    )
    assert (points.x[0], points.y[0], points.customdata[0]) == (
        100 * point.summed[0],
        100 * point.joint[0],
        point.run_id,
    )


def test_ticks_of_a_log_axis_enclose_the_values_in_steps_of_1_2_5() -> None:
    assert log_ticks([52_000, 640_000]) == [50_000, 100_000, 200_000, 500_000, 1_000_000]
    assert log_ticks([1.0, 7.6]) == [1, 2, 5, 10]
    assert log_ticks([300]) == [200, 500]
    assert log_ticks([]) == []
    records = [record("run1", ratio=2), record("run2")]
    axis = tradeoff_figure(tradeoff_info(records)).layout.xaxis
    assert len(axis.tickvals) == len(axis.ticktext) and all(t.endswith("B") for t in axis.ticktext)


def test_runs_that_differ_in_the_quantizer_alone_have_markers_of_their_own_and_the_legend_tells_them() -> None:
    plain = record("a", method="cp", precision="int8")
    specs = [
        plain.spec.changed(condition=condition, granularity=granularity)
        for condition in (True, False)
        for granularity in ("channel", "tensor")
    ]
    records = [replace(plain, run_id=name * 16, spec=spec) for name, spec in zip("abcd", specs, strict=True)]
    figure = tradeoff_figure(tradeoff_info(records))
    shapes = [t.marker.symbol for t in figure.data if t.hovertemplate]
    assert shapes == ["diamond", "diamond-dot", "diamond-open", "diamond-open-dot"]
    assert {"not conditioned", "scale per tensor"} <= {t.name for t in figure.data}
    facts = [p.facts.split("<br>")[0] for p in tradeoff_info(records).points]
    assert len(set(facts)) == 4 and "not conditioned" in facts[2] and "one scale per weight tensor" in facts[3]
    alone = tradeoff_figure(tradeoff_info(records[:1]))
    assert not {"not conditioned", "scale per tensor"} & {t.name for t in alone.data}


def test_every_layer_is_one_bar_in_the_colour_of_what_becomes_of_it() -> None:
    plan = make_plan(layer_table(), "auto", RankRule("ratio", 1.5))
    bars = plan_bars(plan.layers)
    assert [(b.layer, b.method) for b in bars] == [(p.layer.name, p.method) for p in plan.layers]
    assert [b.kept * p.layer.params for b, p in zip(bars, plan.layers, strict=True)] == pytest.approx(
        [p.cost.params for p in plan.layers]
    )
    figure = plan_figure(bars)
    drawn = {x: (t.marker.color, y) for t in figure.data for x, y in zip(t.x, t.y, strict=True)}
    assert drawn == {b.layer: (Variant(b.method).colour, 100 * b.kept) for b in bars}
    assert list(figure.layout.xaxis.categoryarray) == [b.layer for b in bars]
    assert drawn["stem.0"] == (Variant().colour, 100)
    taken = next(p for p in plan.decomposed())
    facts = next(b.facts for b in bars if b.layer == taken.layer.name)
    assert " x ".join(map(str, taken.ranks)) in facts and f"{taken.cost.params:,} of {taken.layer.params:,}" in facts


def test_names_stand_under_the_bars_only_where_there_is_room() -> None:
    bars = [PlanBar(f"layer{n}", 0.5, "svd", "") for n in range(MOST_NAMES + 1)]
    assert plan_figure(bars[:-1]).layout.xaxis.showticklabels
    assert not plan_figure(bars).layout.xaxis.showticklabels
