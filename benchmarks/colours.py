"""Can the signs of every chart be told apart, and seen, by everybody's eyes?

    python -m benchmarks.colours [--all]

Draws every chart of the dashboard from what is shipped, takes the signs that each holds (colour, and shape, dash or
pattern), and measures every pair: the least CIEDE2000 (Sharma, Wu and Dalal 2005) between two that nothing but their
colour tells apart, as seen by all, and with whole loss of one kind of cone (Machado, Oliveira and Fernandes 2009), and
the least contrast (WCAG 2) with the light and the dark page. `--all`: also pairs of like colours that a second sign
tells apart, with that sign.
"""

import argparse
import functools
import itertools
import math
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go

import dashboard
from dashboard.facts.additions import additions_of
from dashboard.facts.curves import curves_of
from dashboard.facts.failing import failures
from dashboard.facts.groups import group_runs
from dashboard.facts.scales import SCALES
from dashboard.facts.study_views import VIEWS
from dashboard.figures.additivity import additivity_figure
from dashboard.figures.against_ratio import ratio_figure
from dashboard.figures.components import entries_figure, norms_figure, ranges_figure, strip_figure
from dashboard.figures.failing import layers_figure, steps_figure
from dashboard.figures.plan import PlanBar, plan_figure
from dashboard.figures.recipe import recipe_figure
from dashboard.figures.study import curves_figure
from dashboard.figures.tradeoff import tradeoff_figure, tradeoff_info
from dashboard.words.palette import GREY
from tdq_core.analysis.additivity import find_cells
from tdq_core.analysis.components import STUDIES
from tdq_core.cli.terminal import say
from tdq_core.layers.methods import METHODS
from tdq_core.recipes.report import RECIPES
from tdq_core.records.store import RUNS, Store, shipped_folder

VISIONS = {
    "all": np.eye(3),
    "protanopia": np.array([[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]]),
    "deuteranopia": np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]),
    "tritanopia": np.array([[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]]),
}
"""Of linear RGB."""
LEAST = 10.0
"""CIEDE2000 between any two signs that nothing but their colour tells apart."""


class Sign(NamedTuple):
    """How one thing is drawn. `second`: what tells it from others beside its colour."""

    name: str
    colour: str
    second: str


class Pair(NamedTuple):
    one: Sign
    other: Sign
    difference: float
    vision: str

    @property
    def by_colour_alone(self) -> bool:
        return self.one.second == self.other.second


def themes() -> dict[str, str]:
    """The ground of the light and of the dark page."""
    folder = Path(dashboard.__file__).parent
    theme = tomllib.loads((folder / ".streamlit" / "config.toml").read_text())["theme"]
    return {mode: theme[mode]["backgroundColor"] for mode in ("light", "dark")}


def linear(colour: str) -> np.ndarray:
    """Linear RGB, (3,)."""
    shares = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)


@functools.cache
def contrast(one: str, other: str) -> float:
    """Of WCAG 2."""
    light, dark = sorted((float(linear(c) @ (0.2126, 0.7152, 0.0722)) for c in (one, other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB of linear RGB, D65."""
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    white = np.array([0.9505, 1.0, 1.089])
    t = to_xyz @ np.clip(rgb, 0, 1) / white
    f = np.where(t > 0.008856, np.cbrt(t), 7.787 * t + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """CIEDE2000 of two CIELAB colours."""
    (l1, a1, b1), (l2, a2, b2) = one, other
    middle = (math.hypot(a1, b1) + math.hypot(a2, b2)) / 2
    g = 1.5 - 0.5 * math.sqrt(middle**7 / (middle**7 + 25**7))
    c1, c2 = math.hypot(g * a1, b1), math.hypot(g * a2, b2)
    h1, h2 = (math.degrees(math.atan2(b, g * a)) % 360 for a, b in ((a1, b1), (a2, b2)))
    turn = (h2 - h1 + 180) % 360 - 180 if c1 * c2 else 0.0
    chroma, hue = (c1 + c2) / 2, math.radians((h1 + turn / 2) % 360) if c1 * c2 else math.radians(h1 + h2)
    light = ((l1 + l2) / 2 - 50) ** 2
    t = (1 - 0.17 * math.cos(hue - math.radians(30)) + 0.24 * math.cos(2 * hue)
         + 0.32 * math.cos(3 * hue + math.radians(6)) - 0.2 * math.cos(4 * hue - math.radians(63)))  # fmt: skip
    dl = (l2 - l1) / (1 + 0.015 * light / math.sqrt(20 + light))
    dc = (c2 - c1) / (1 + 0.045 * chroma)
    dh = 2 * math.sqrt(c1 * c2) * math.sin(math.radians(turn / 2)) / (1 + 0.015 * chroma * t)
    twist = 2 * math.sqrt(chroma**7 / (chroma**7 + 25**7))
    twist *= -math.sin(math.radians(60 * math.exp(-(((math.degrees(hue) - 275) / 25) ** 2))))
    return math.sqrt(max(0.0, dl**2 + dc**2 + dh**2 + twist * dc * dh))


@functools.cache
def seen(one: str, other: str) -> tuple[float, str]:
    """The least difference of two colours, and whose eyes see it so."""
    found = {
        name: difference(lab(vision @ linear(one)), lab(vision @ linear(other))) for name, vision in VISIONS.items()
    }
    name = min(found, key=found.__getitem__)
    return found[name], name


def signs(figure: go.Figure) -> list[Sign]:
    """Of all traces and of keys of colours, each once; a grey key, of a shape, stands beside its words alone."""
    found = {}
    for trace in figure.data:
        if trace.marker.color == GREY and trace.x == (None,):
            continue
        mode, marked = getattr(trace, "mode", None) or trace.type, trace.marker
        colour, shape = marked.color, []
        if "markers" in mode:
            shape.append(f"{marked.symbol or 'circle'} of {marked.size} px")
        if "lines" in mode:
            colour = colour or trace.line.color
            shape.append(f"{trace.line.dash or 'solid'} line")
        if mode == "bar":
            shape.append(f"{marked.pattern.shape or 'plain'} bar")
        sign = Sign(f"{trace.name}", colour, ", ".join(shape))
        found[sign[1:]] = sign
    return list(found.values())


def pairs(found: Sequence[Sign]) -> list[Pair]:
    """Of different colours."""
    return [Pair(a, b, *seen(a.colour, b.colour)) for a, b in itertools.combinations(found, 2) if a.colour != b.colour]


def every_chart() -> Iterator[tuple[str, go.Figure]]:
    """Each chart of each page, of everything that is shipped."""
    runs = Store(RUNS, shipped_folder()).all()
    for group in group_runs(runs):
        name, own = group.about.model.name, group.complete
        if not own:
            continue
        yield f"Explore, {name}", tradeoff_figure(tradeoff_info(own, chosen=own[0].run_id))
        if additions := additions_of(find_cells(own)):
            yield f"Additivity, {name}", additivity_figure(additions)
            yield f"Additivity, {name}: ratio", ratio_figure(additions, SCALES["points"])
        for failure in failures(own)[:1]:
            yield f"Components, {name}: steps", steps_figure(failure)
            yield f"Components, {name}: layers", layers_figure(failure)
        for view in VIEWS:
            if view.kind == "curves" and (curves := curves_of(view, own)):
                yield f"Study, {name}: {view.title}", curves_figure(curves, intervals=True)
    for study in Store(STUDIES, shipped_folder()).all()[:1]:
        layer = study.layers[0]
        yield "Components: all layers", strip_figure(study, layer.name)
        yield "Components: norms", norms_figure(layer)
        yield "Components: ranges", ranges_figure(layer)
        yield "Components: weights", entries_figure(layer, granularity="channel", bits=4)
    for report in Store(RECIPES, shipped_folder()).all():
        yield "Find: recipe", recipe_figure(report)
    yield "Explore: plan", plan_figure([PlanBar(m, 0.5, m, "") for m in ("none", *METHODS)])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.colours", description=__doc__.splitlines()[0])
    parser.add_argument("--all", action="store_true", help="pairs that a second sign tells apart as well")
    asked = parser.parse_args()
    say("| chart | signs | pairs | by colour alone: least CIEDE2000 | least contrast, light | dark |")
    say("|---|---|---|---|---|---|")
    second: dict[tuple[str, ...], str] = {}
    for name, figure in every_chart():
        found = signs(figure)
        every = pairs(found)
        alone = min((p for p in every if p.by_colour_alone), key=lambda p: p.difference, default=None)
        told = f"{alone.difference:.1f} ({alone.vision}): {alone.one.name} / {alone.other.name}" if alone else "none"
        least = (min(contrast(s.colour, ground) for s in found) for ground in themes().values())
        say(f"| {name} | {len(found)} | {len(every)} | {told} | {' | '.join(f'{c:.2f}' for c in least)} |")
        for p in every:
            if p.difference < LEAST and not p.by_colour_alone:
                key = tuple(sorted((f"{p.one.colour} {p.one.second}", f"{p.other.colour} {p.other.second}")))
                second[key] = f"{p.difference:.1f} ({p.vision}): {p.one.name} / {p.other.name}"
    say(f"{len(second)} pairs are nearer than {LEAST:g}, and a second sign tells them apart.")
    for key, told in second.items() if asked.all else ():
        say(f"  {told}: {' | '.join(key)}")


if __name__ == "__main__":
    main()
