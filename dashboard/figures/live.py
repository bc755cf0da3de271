"""What moves with the sliders, laid over a chart that stands still: the predicted curve with its band, the intervals of
measured runs of the same pipeline, and the plan at hand with its own. An inline drawing of a few lines: the chart
beneath is not sent again."""

from collections.abc import Callable, Iterable, Mapping
from html import escape
from typing import NamedTuple, Protocol
from urllib.parse import quote

from dashboard.facts.foreseen import Curve, Foreseen
from dashboard.figures.frame import MARGIN, Frame
from dashboard.figures.tradeoff import X_AXES
from dashboard.words import text
from dashboard.words.palette import ACCENT

SIDE = 1000
"""Of the drawing, which is stretched over the inside of the chart."""
RIGHT = 0.6
"""Beyond this place words stand to the left of their point."""
SIZES: Mapping[str, Callable[[Foreseen], float]] = {
    "bytes": lambda p: p.bytes,
    "params": lambda p: p.params,
    "macs": lambda p: p.macs,
    "size_ratio": lambda p: p.size_ratio,
    "params_ratio": lambda p: p.ratio,
}
"""By the chart's x axis."""


class Drop(Protocol):
    """What has a drop with its interval, as shares of the images."""

    @property
    def drop(self) -> float: ...

    @property
    def low(self) -> float: ...

    @property
    def high(self) -> float: ...


class Place(NamedTuple):
    """In the drawing: across, and down of the value and of its interval's ends (`top` above `foot`)."""

    x: float
    y: float
    top: float
    foot: float


def live(frame: Frame, curve: Curve, now: Foreseen | None, colour: str) -> str:
    """The drawing as HTML; `now`: the plan at hand, None where nothing is predicted of it."""
    size = SIZES[frame.x_axis]
    front = [_place(frame, size(point), point) for point in curve.front]
    parts = []
    if front:
        band = [(p.x, p.top) for p in front] + [(p.x, p.foot) for p in reversed(front)]
        parts.append(_path("band", f"M{_joined(band)}Z", f'fill="{colour}"'))
        parts.append(_path("front", f"M{_joined((p.x, p.y) for p in front)}", f'stroke="{colour}"'))
    if curve.seen:
        seen = [_place(frame, X_AXES[frame.x_axis].value(run.record), run) for run in curve.seen]
        bars = "".join(f"M{_joined([(p.x, p.top), (p.x, p.foot)])}" for p in seen)
        parts.append(_path("seen", bars, f'stroke="{colour}"'))
    label = ""
    if now:
        here = _place(frame, size(now), now)
        inside = here._replace(x=_held(here.x), y=_held(here.y))
        if here.x == inside.x:
            bar = [(here.x, here.top), (here.x, here.foot)]
            parts.append(_path("interval", f"M{_joined(bar)}", f'stroke="{ACCENT}"'))
        if here == inside:
            parts.append(_path("plan", _dot(here.x, here.y), f'stroke="{ACCENT}"'))
        label = _label(inside, here, now)
    edges = ";".join(f"{side}:{MARGIN[edge]}px" for edge, side in _EDGES.items())
    return f'<div class="tdq-live" style="{edges}"><img src="{_image(parts)}" alt="{_told(now)}">{label}</div>'


_EDGES = {"l": "left", "r": "right", "t": "top", "b": "bottom"}


def _place(frame: Frame, size: float, of: Drop) -> Place:
    if frame.y_axis == "drop":
        values = (of.drop, of.high, of.low)
    else:
        values = (frame.top1 - of.drop, frame.top1 - of.low, frame.top1 - of.high)
    y, top, foot = (frame.down(100 * value) for value in values)
    return Place(frame.across(size), y, top, foot)


def _held(share: float) -> float:
    return min(1.0, max(0.0, share))


def _image(parts: Iterable[str]) -> str:
    """As an address of its own: pages let no drawings through but as images. Lines keep their width however it is
    stretched."""
    drawn = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIDE} {SIDE}" preserveAspectRatio="none">'
        f'<g fill="none">{"".join(parts)}</g></svg>'
    )
    return f"data:image/svg+xml,{quote(drawn)}"


def _joined(points: Iterable[tuple[float, float]]) -> str:
    return "L".join(f"{SIDE * x:.1f} {SIDE * y:.1f}" for x, y in points)


def _dot(x: float, y: float) -> str:
    """So short a line that only its round ends are seen: round whatever the drawing is stretched to."""
    return f"M{SIDE * x:.1f} {SIDE * y:.1f}h0.01"


_LOOKS = {
    "band": 'opacity="0.18"',
    "front": 'stroke-width="2.5" stroke-dasharray="7 4"',
    "seen": 'stroke-width="1.5"',
    "interval": 'stroke-width="3"',
    "plan": 'stroke-width="15" stroke-linecap="round"',
}


def _path(kind: str, line: str, paint: str) -> str:
    return f'<path id="{kind}" d="{line}" vector-effect="non-scaling-stroke" {_LOOKS[kind]} {paint}/>'


def _label(inside: Place, here: Place, now: Foreseen) -> str:
    """The plan's numbers beside its point; where it lies beyond the picture, an arrow says where."""
    left = inside.x > RIGHT
    side = f"right:{100 * (1 - inside.x):.2f}%" if left else f"left:{100 * inside.x:.2f}%"
    arrow = ("\N{UPWARDS ARROW} " * (here.y < 0) + "\N{DOWNWARDS ARROW} " * (here.y > 1)
             + "\N{LEFTWARDS ARROW} " * (here.x < 0) + "\N{RIGHTWARDS ARROW} " * (here.x > 1))  # fmt: skip
    words = f"{arrow}this plan: {text.points(now.drop)} {text.interval(now.low, now.high)}"
    low = " low" if inside.y > 0.9 else ""
    return f'<span class="words{low}" style="{side};top:{100 * inside.y:.2f}%">{escape(words)}</span>'


def _told(now: Foreseen | None) -> str:
    if now is None:
        return "No drop is predicted of this plan."
    return escape(
        f"This plan: {text.count(now.params)} params, predicted drop {text.points(now.drop)} points "
        f"{text.interval(now.low, now.high)}, 90 per cent."
    )
