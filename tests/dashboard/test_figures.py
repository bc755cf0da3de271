"""What the charts show, compared as values."""

import itertools

import pytest
from made_up import N, four_cells, layer_table, record
from msgspec.structs import replace

from dashboard.facts.additions import (
    MARGIN,
    Addition,
    addition_rows,
    additions_of,
    joined_runs,
    kind_rows,
    verdict_text,
)
from dashboard.figures.additivity import additivity_figure
from dashboard.figures.axes import LEAST_TICKS, MOST_TICKS, log_range, log_ticks
from dashboard.figures.plan import MOST_NAMES, PlanBar, plan_bars, plan_figure
from dashboard.figures.tradeoff import (
    X_AXES,
    Y_AXES,
    Point,
    TradeoffInfo,
    better_corner,
    outside_text,
    tradeoff_figure,
    tradeoff_info,
)
from dashboard.words.palette import ACCENT, Look, look_of
from tdq_core.analysis.additivity import find_cells, judged
from tdq_core.analysis.joint_moves import OLD, NoMove
from tdq_core.ranks.plan import make_plan
from tdq_core.specs import RankRule
from tdq_core.specs.variant import Variant
from tdq_core.stats.equivalence import equivalence
from tdq_core.stats.intervals import paired_mean


def test_tradeoff_info_whole() -> None:
    a, _, _, d = records = four_cells()
    info = tradeoff_info([a, d], chosen=d.run_id)
    points = tuple(
        Point(r.run_id, r.metrics.bytes, *r.drop(), look_of(r.spec), p.facts)  # type: ignore[union-attr]
        for r, p in zip((a, d), info.points, strict=True)
    )
    dense = a.baseline.top1  # type: ignore[union-attr]
    assert info == TradeoffInfo("bytes", "drop", points, (d.run_id, a.run_id), d.run_id, dense=dense)
    assert tradeoff_info(records, chosen="elsewhere").chosen is None


@pytest.mark.parametrize("y_axis", list(Y_AXES))
def test_what_lies_outside_the_picture_is_counted_and_the_chosen_run_never_does(y_axis: str) -> None:
    records = [*four_cells(), record("e", right=40, size=90)]
    info = tradeoff_info(records, y_axis=y_axis, span=0.06)
    drops = [r.drop()[0] for r in records]
    assert info.outside == sum(d > 0.06 for d in drops) == 2, "counted from the dense network"
    assert outside_text(info).startswith("2 of 5 runs lose more than 6 points")
    low, high = tradeoff_figure(info).layout.yaxis.range
    assert sum(not low <= 100 * p.y <= high for p in info.points) == 2
    shown = tradeoff_info(records, y_axis=y_axis, span=0.06, chosen="e" * 16)
    low, high = tradeoff_figure(shown).layout.yaxis.range
    assert shown.outside == 0 and all(low <= 100 * p.y <= high for p in shown.points)
    assert shown.stretched and outside_text(shown) == "It reaches as far as the run that is shown."
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
    front = [t.customdata for t in tradeoff_figure(info).data if t.name == "Pareto front"]
    assert set(*front) == set(info.front), "nothing is drawn over it but the runs that it joins"
    rings = [t for t in tradeoff_figure(info).data if t.marker.color == ACCENT]
    assert [list(t.customdata) for t in rings] == [["a" * 16]]


def test_intervals_are_drawn_on_demand() -> None:
    info = tradeoff_info(four_cells()[3:])
    (bars,) = [t.error_y for t in tradeoff_figure(info, intervals=True).data if t.error_y.array is not None]
    (point,) = info.points
    assert (bars.array[0], bars.arrayminus[0]) == (100 * (point.high - point.y), 100 * (point.y - point.low))
    assert all(t.error_y.array is None for t in tradeoff_figure(info).data)


def test_an_addition_whole() -> None:
    a, b, c, d = cells = [r.metrics.correct().astype(float) for r in four_cells()]  # type: ignore[union-attr]
    assert len(cells[0]) == N
    expected = Addition(
        "d" * 16,
        "Tucker-2, ratio 2, INT8, conditioned, ONNX Runtime",
        "Tucker-2, INT8",
        Look(Variant("tucker2"), "int8"),
        paired_mean(a - b),
        paired_mean(a - c),
        paired_mean(2 * a - b - c, largest=2),
        paired_mean(a - d),
        *(getattr(judged(find_cells(four_cells()), MARGIN)[0], name) for name in ("interaction", "verdict", "p")),
        NoMove("b" * 16, OLD),
        8.0,
        additions_of(find_cells(four_cells()))[0].line,
    )
    assert additions_of(find_cells(four_cells())) == (expected,)
    assert [r.run_id[0] for r in joined_runs(find_cells(four_cells()))] == ["a", "b", "c", "d"]


def _addition(name: str, low: float, high: float, *, precision: str = "int8", kind: str = "CP, INT8") -> Addition:
    zero, look, interval = (0.0, 0.0, 0.0), Look(Variant("cp"), precision), ((low + high) / 2, low, high)
    p = 1.0 if low <= 0 <= high else 0.01
    return Addition(name, f"run {name}", kind, look, zero, zero, zero, zero, interval, equivalence(interval, MARGIN), p,
                    NoMove(name * 16, OLD), 2.0, "one line")  # fmt: skip


def test_the_verdict_is_counted_over_integers_and_names_the_exceptions() -> None:
    found = (_addition("a", -0.005, 0.009), _addition("b", 0.02, 0.06), _addition("c", -0.03, 0.05),
             _addition("i", 0.001, 0.03), _addition("d", -0.09, -0.03, kind="Tucker-2, INT8"),
             *(_addition(n, 0.0, 0.0, precision="fp16", kind="CP, FP16") for n in "efgh"))  # fmt: skip
    told = verdict_text(found)
    assert told.startswith("Of 5 groups with integers, **1 adds up within 1 point**, 1 cannot be told")
    assert "**3 depart**: Tucker-2, INT8 (by \N{MINUS SIGN}6.00 [" in told
    assert "; 2 of CP, INT8 (at most +4.00 [+2.00, +6.00])" in told
    assert "none is shown to depart" in verdict_text(found[:1])
    assert verdict_text(found[5:]).startswith("Of 4 groups in FP16, **4 add up")
    rows = addition_rows(found)
    assert [r["run"] for r in rows][:4] == ["d", "b", "i", "c"], "exceptions first"
    assert rows[2]["verdict"] == "departs, by how much is open"
    counts = {r["method and precision"]: (r["add up"], r["depart"], r["too few images"]) for r in kind_rows(found)}
    assert counts == {"CP, INT8": (1, 2, 1), "Tucker-2, INT8": (0, 1, 0), "CP, FP16": (4, 0, 0)}


def test_interactions_are_drawn_with_the_intervals_that_are_tested() -> None:
    found = (_addition("a", -0.005, 0.009), _addition("b", 0.02, 0.06), _addition("c", -0.01, 0.03, precision="fp16",
                                                                                   kind="CP, FP16"))  # fmt: skip
    figure = additivity_figure(found)
    drawn = {
        name: (y, y - down, y + up)
        for t in figure.data
        for name, y, down, up in zip(t.customdata, t.y, t.error_y.arrayminus, t.error_y.array, strict=True)
    }
    assert set(drawn) == {"a", "b", "c"}
    for one in found:
        assert drawn[one.run_id] == pytest.approx([100 * v for v in one.interaction])
    assert any(s.y0 == s.y1 == 0 for s in figure.layout.shapes), "zero is a line"
    assert [a.text for a in figure.layout.annotations] == ["+4.00"], "the exception has its number"
    assert list(figure.layout.xaxis.ticktext) == ["CP<br>INT8", "CP<br>FP16"]


@pytest.mark.parametrize(
    "values", [[52_000, 640_000], [1.0, 7.6], [300], [22e6, 45e6], [1.0, 1.001], [1, 1e9], [0.012, 0.013], [9.9, 10.1]]
)
def test_every_log_axis_has_ticks_that_lie_on_it(values: list[float]) -> None:
    reach, ticks = log_range(values), log_ticks(values)
    assert reach and 10 ** reach[0] < min(values) and max(values) < 10 ** reach[1]
    assert len(set(ticks)) == len(ticks) <= MOST_TICKS and ticks == sorted(ticks)
    assert all(10 ** reach[0] <= tick <= 10 ** reach[1] for tick in ticks)
    assert len(ticks) >= LEAST_TICKS or max(values) / min(values) < 1.1


def test_an_axis_without_points_has_no_ticks() -> None:
    assert log_ticks([]) == [] and log_range([]) is None
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
    shapes = [(t.marker.symbol, t.marker.line.width) for t in figure.data if t.hovertemplate]
    assert shapes == [("diamond", None), ("diamond", 2), ("diamond-open", 2), ("diamond-open", 4)]
    assert {"hollow: not conditioned", "heavy edge: scale per tensor"} <= {t.name for t in figure.data}
    facts = [p.facts.split("<br>")[0] for p in tradeoff_info(records).points]
    assert len(set(facts)) == 4 and "not conditioned" in facts[2] and "one scale per weight tensor" in facts[3]
    alone = tradeoff_figure(tradeoff_info(records[:1]))
    assert not any("conditioned" in t.name or "scale" in t.name for t in alone.data)


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
