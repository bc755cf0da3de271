"""Predicted against measured drops, with the diagonal on which both are the same."""

from collections.abc import Sequence

import plotly.graph_objects as go

from dashboard.figures.tradeoff import marker
from dashboard.words import text
from dashboard.words.palette import GREY, Look, look_of
from tdq_core.prediction.track import Kept

HEIGHT = 420


def track_figure(runs: Sequence[Kept]) -> go.Figure:
    """One point a run: what had been predicted with its 90 % interval, what was measured with its 95 % interval."""
    figure = go.Figure()
    ends = [end for run in runs for end in _ends(run)]
    low, high = min(0.0, *ends), max(ends)
    figure.add_trace(go.Scatter(
        x=[low, high], y=[low, high], mode="lines", line={"color": GREY, "dash": "dot", "width": 1},
        name="as predicted", hoverinfo="skip",
    ))  # fmt: skip
    for name in dict.fromkeys(look_of(run.record.spec).variant.label for run in runs):
        own = [run for run in runs if look_of(run.record.spec).variant.label == name]
        figure.add_trace(_points(own, name))
    figure.update_xaxes(title="Predicted drop (points)", zeroline=True)
    figure.update_yaxes(title="Measured drop (points)", scaleanchor="x", zeroline=True)
    figure.update_layout(height=HEIGHT, margin={"l": 8, "r": 8, "t": 8, "b": 8},
                         legend={"itemclick": False, "itemdoubleclick": False})  # fmt: skip
    return figure


def _ends(run: Kept) -> tuple[float, ...]:
    guess = run.prediction
    return tuple(100 * x for x in (*run.record.drop(), guess.low or 0.0, guess.high or 0.0))


def _points(runs: Sequence[Kept], name: str) -> go.Scatter:
    look = Look(look_of(runs[0].record.spec).variant)
    colour = look.colour
    guesses = [(run.prediction.drop or 0.0, run.prediction.low or 0.0, run.prediction.high or 0.0) for run in runs]
    seen = [run.record.drop() for run in runs]
    told = [
        f"{text.treatment(run.record.spec)}<br>predicted {text.points(g[0])} {text.interval(*g[1:])}, 90 %"
        f"<br>measured {text.points(s[0])} {text.interval(*s[1:])}, 95 %"
        for run, g, s in zip(runs, guesses, seen, strict=True)
    ]
    return go.Scatter(
        x=[100 * g[0] for g in guesses], y=[100 * s[0] for s in seen], mode="markers", name=name,
        marker=marker(look) | {"size": 8}, error_x=_error(guesses, colour), error_y=_error(seen, colour),
        hovertext=told, hovertemplate="%{hovertext}<extra></extra>",
    )  # fmt: skip


def _error(intervals: Sequence[tuple[float, float, float]], colour: str) -> dict[str, object]:
    return {"type": "data", "array": [100 * (high - middle) for middle, _, high in intervals],
            "arrayminus": [100 * (middle - low) for middle, low, _ in intervals], "thickness": 1, "width": 0,
            "color": colour}  # fmt: skip
