"""The numbers of the charts that have no table of their own, as rows: what is seen as a point or a bar can be read."""

from collections.abc import Iterable, Sequence
from typing import Any

from dashboard.facts.curves import Curve, rounded
from dashboard.facts.failing import Failure
from dashboard.figures.components import entry_bars, grid_of, norm_bars
from dashboard.words import text
from dashboard.words.components import sum_of_squares
from dashboard.words.palette import STATES
from tdq_core.analysis.components import STAGES, VARIANTS, Components, LayerComponents
from tdq_core.prediction.track import Kept

Rows = list[dict[str, Any]]
MOVED, SQUARES = "kernel moved by INT8 (%)", "squared norms, sum / |W|²"


def step_rows(failure: Failure) -> Rows:
    """A row for each way to the same ratio."""
    return [
        {
            "step": step.line.label,
            "drop (points)": _points(*step.drop),
            "lost on top of FP32 (points)": _points(*step.lost) if step.lost else "",
            "run": step.record.run_id[:8],
        }
        for step in failure.steps
    ]


def loss_rows(failure: Failure) -> Rows:
    """A row for each layer: least squares and EPC side by side."""
    mended = {la.layer: la for la in failure.mended}
    rows = []
    for layer in failure.bare:
        after = mended.get(layer.layer)
        rows.append(
            {
                "layer": layer.layer,
                **_of("als", {MOVED: 100 * layer.error, SQUARES: layer.squares}),
                **(_of("epc", {MOVED: 100 * after.error, SQUARES: after.squares}) if after else {}),
            }
        )
    return [{name: _short(value) for name, value in row.items()} for row in rows]


def layer_rows(study: Components) -> Rows:
    """A row for each layer of a study, what is drawn of it in each state."""
    return [
        {"layer": la.name, "components": la.rank}
        | {
            name: _short(value)
            for v in VARIANTS
            for name, value in _of(
                v, {SQUARES: sum_of_squares(la.variants[v]), "ranges, largest / median": la.variants[v].ratio}
            ).items()
        }
        for la in study.layers
    ]


def norm_rows(layer: LayerComponents) -> Rows:
    """A row for each bin of the histograms of norms."""
    bars = norm_bars(layer)
    middles = next(iter(bars.values())).middles
    return [
        {"norm / |W|, about": _short(10**middle)} | {STATES[v].label: int(bars[v].heights[i]) for v in VARIANTS}
        for i, middle in enumerate(middles)
    ]


def range_rows(layer: LayerComponents) -> Rows:
    """A row for each place among the components, widest first, after each inner sub-layer."""
    rows: Rows = []
    for name in STAGES[:2]:
        inner = {v: layer.variants[v].inner[name] for v in VARIANTS}
        levels = {v: sorted(found.levels, reverse=True) for v, found in inner.items()}
        rows += [
            {"after": name, "component": place + 1}
            | {f"{STATES[v].label}: INT8 levels": _short(levels[v][place]) for v in VARIANTS}
            for place in range(layer.rank)
        ]
    return rows


def weight_rows(layer: LayerComponents, *, granularity: str, bits: int) -> Rows:
    """A row for each sub-layer and bin of its histograms, after one with what rounds to zero."""
    rows: Rows = []
    for name in STAGES:
        grids = {v: grid_of(layer, v, name, granularity=granularity, bits=bits) for v in VARIANTS}
        zeros = {f"{STATES[v].label} (%)": _short(100 * share) for v, (_, share) in grids.items()}
        rows.append({"sub-layer": name, "|weight|, about": "rounds to zero"} | zeros)
        bars = {v: entry_bars(layer, v, name) for v in VARIANTS}
        for i, middle in enumerate(bars[VARIANTS[0]].middles):
            heights = {f"{STATES[v].label} (%)": _short(bars[v].heights[i]) for v in VARIANTS}
            rows.append({"sub-layer": name, "|weight|, about": f"{10**middle:.2g}"} | heights)
    return rows


def curve_points(curves: Sequence[Curve]) -> Rows:
    """A row for each point of the study's curves."""
    rows: Rows = []
    for curve in curves:
        losses = {r.record.run_id: r.loss for r in rounded(curve, curves)}
        for point in curve.points:
            record = point.record
            lost = losses.get(record.run_id)
            rows.append(
                {
                    "line": curve.line.label,
                    "params, original / compressed": round(point.ratio, 2),
                    "drop (points)": _points(*record.drop()),
                    "lost on top of FP32 (points)": _points(*lost) if lost else "",
                    "run": record.run_id[:8],
                }
            )
    return rows


def track_rows(runs: Iterable[Kept]) -> Rows:
    """A row for each run that had been predicted."""
    return [
        {
            "run": text.treatment(run.record.spec),
            "predicted (points, 90 %)": _points(
                run.prediction.drop or 0.0, run.prediction.low or 0.0, run.prediction.high or 0.0
            ),
            "measured (points, 95 %)": _points(*run.record.drop()),
        }
        for run in runs
    ]


def _of(state: str, values: dict[str, float]) -> dict[str, float]:
    return {f"{STATES[state].label}: {name}": value for name, value in values.items()}


def _points(middle: float, low: float, high: float) -> str:
    return f"{text.points(middle)} {text.interval(low, high)}"


def _short(value: Any) -> Any:
    """Three digits of a number, which is what a chart shows of it."""
    return float(f"{value:.3g}") if isinstance(value, float) else value
