"""Colours for everybody's eyes: seen on the light and the dark page, and told apart with every common colour vision."""

import itertools
import math
import tomllib
from pathlib import Path

import numpy as np
import pytest

from dashboard.words.palette import STATES, TEXT, Look
from tdq_core.specs.variant import variants

CONFIG = Path(__file__).resolve().parent.parent.parent / "dashboard" / ".streamlit" / "config.toml"
THEME = tomllib.loads(CONFIG.read_text())["theme"]
PAGES = {mode: THEME[mode]["backgroundColor"] for mode in ("light", "dark")}
VISIONS = {
    "all": np.eye(3),
    "protanopia": np.array([[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]]),
    "deuteranopia": np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]),
    "tritanopia": np.array([[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]]),
}
"""Of linear RGB: Machado, Oliveira and Fernandes (2009), whole loss of one kind of cone."""
LEAST = 10.0
"""CIEDE2000 between any two marks that nothing but their colour tells apart."""


def linear(colour: str) -> np.ndarray:
    """Linear RGB, (3,)."""
    shares = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)


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
    """CIEDE2000 of two CIELAB colours (Sharma, Wu and Dalal 2005)."""
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


def test_the_difference_is_that_of_the_paper() -> None:
    for one, other, wanted in (((50.0, 2.6772, -79.7751), (50.0, 0.0, -82.7485), 2.0425),
                               ((50.0, 2.5, 0.0), (73.0, 25.0, -18.0), 27.1492),
                               ((22.7233, 20.0904, -46.694), (23.0331, 14.973, -42.5619), 2.0373)):  # fmt: skip
        assert difference(np.array(one), np.array(other)) == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("vision", VISIONS)
def test_two_variants_are_told_apart_by_colour_or_by_their_mark(vision: str) -> None:
    looks = [Look(variant) for variant in variants()]
    for one, other in itertools.combinations(looks, 2):
        if one.symbol == other.symbol:
            seen = [lab(VISIONS[vision] @ linear(look.colour)) for look in (one, other)]
            assert difference(*seen) >= LEAST, (one.variant.label, other.variant.label)


def test_marks_and_words_are_seen_on_both_pages() -> None:
    for mode, page in PAGES.items():
        assert contrast(TEXT[mode], page) >= 4.5 and TEXT[mode] == THEME[mode]["textColor"]
        for colour in {v.colour for v in variants()} | {s.colour for s in STATES.values()}:
            assert contrast(colour, page) >= 3, (mode, colour)


def test_states_of_a_cp_have_a_sign_beside_their_colour() -> None:
    assert len({s.symbol for s in STATES.values()}) == len(STATES)
