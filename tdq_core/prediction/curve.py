"""From a change of the answers to the top-1 that it costs: one curve with a prior, refitted on the runs of a network.

    drop = scale * (changed(wrong + x) - changed(wrong)),  x = gain * change,

where `changed` is how many answers noise of that size moves on the calibration images (`flips`). A network has often
been trained on these and is surer of them than of others: images that it has not seen are to it as if they had noise
already, of the size `wrong` that makes it as often wrong as it is there. Where factors were fitted to images, their
changes count sqrt(wrong) times: the surer a network is of what it has seen, the more such fits lose elsewhere (four
networks have that in common). `gain` is how much of the sum of the layers'
changes remains in the whole network, by what factors are fitted to. Gain and scale are known about from other networks,
as log-normal priors, and their posterior is held on a grid: nothing is linearised, and few runs move it a little.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from tdq_core.prediction.sensitivity import Flip
from tdq_core.stats.score import Z90

STEPS = 49
LEAST, MOST, HALVINGS = 1e-9, 1e3, 40
"""Changes among which the inverse looks, and how often it halves what is left of their logarithms."""
LEAST_MOVED = 0.01
"""Share of the answers that become right or wrong, at least, in a network that is changed at all."""
TO_IMAGES = ("outputs", "symmetric")
"""What factors may be fitted to, but weights."""
LEAST_WRONG = 0.005
"""No network is right about more of all images than the others."""
FREEDOM = 4.0
"""Degrees of Student's t, by which runs of factors fitted to outputs count: one that lies far off moves the curve
little (Lange, Little and Taylor 1989). Of weights whole networks lie far off the prior, and runs say so by a normal."""
WIDTH = 3.0
"""Standard deviations of the priors that the grid spans to either side."""


@dataclass(frozen=True)
class Prior:
    """What is known of networks whose runs were measured: means and standard deviations of logarithms.

    Attributes:
        wrong: share of the answers, where nothing of the network was measured yet.
        offset, rounding: by method of a layer, added to the logarithm of what its ranks and what rounding it changes:
            errors of some methods add up to more than others'.
        error: by fit (floor, share): the model's own error is floor + share * drop, one standard deviation, as shares
            of the images. Factors fitted to weights shift means, and such errors pile up or cancel as no sum can tell.
    """

    wrong: float
    scale: tuple[float, float]
    gain: dict[str, tuple[float, float]]
    error: dict[str, tuple[float, float]]
    offset: dict[str, float] = field(default_factory=dict)
    rounding: dict[str, float] = field(default_factory=dict)


class Run(NamedTuple):
    """A measured run: its change (0: of the dense network), what its factors were fitted to, its drop and the drop's
    own standard error, and the top-1 of the dense network on the same images."""

    change: float
    fit: str
    drop: float
    noise: float
    dense: float


class Guess(NamedTuple):
    """A drop with its 90 % interval, as shares of the images."""

    drop: float
    low: float
    high: float


class Curve:
    """The posterior for one network."""

    def __init__(self, prior: Prior, flips: Sequence[Flip], runs: Sequence[Run] = ()) -> None:
        self._prior = prior
        self._changes = np.log([flip.change for flip in flips])
        self._changed = np.maximum.accumulate([flip.changed for flip in flips])
        self._wrong = self._changing(1 - float(np.mean([run.dense for run in runs])) if runs else prior.wrong)
        axis = np.linspace(-WIDTH, WIDTH, STEPS)
        self._scale = np.exp(prior.scale[0] + prior.scale[1] * axis)[:, None]
        self._gain = {fit: mean + deviation * axis[None, :] for fit, (mean, deviation) in prior.gain.items()}
        self._plain = -0.5 * (axis[:, None] ** 2 + axis[None, :] ** 2)
        changed = [run for run in runs if run.change > 0]
        self._weights = {fit: self._posterior([run for run in changed if run.fit == fit], fit) for fit in prior.gain}

    def _changing(self, share: float) -> float:
        """The change that moves this share of the answers."""
        return math.exp(float(np.interp(max(share, LEAST_WRONG), self._changed, self._changes)))

    def _moved(self, change: np.ndarray) -> np.ndarray:
        """Share of the answers that a change moves."""
        at = np.log(np.maximum(change, 1e-12))
        below = self._changed[0] * np.exp(np.minimum(at - self._changes[0], 0.0))
        return np.where(at < self._changes[0], below, np.interp(at, self._changes, self._changed))

    def _drops(self, change: float, fit: str) -> np.ndarray:
        """(scales, gains)."""
        start = np.array(self._wrong)
        moved = change * np.exp(self._gain[fit]) * (np.sqrt(start) if fit in TO_IMAGES else 1.0)
        return self._scale * np.maximum(self._moved(start + moved) - self._moved(start), 0.0)

    def _posterior(self, runs: Sequence[Run], fit: str) -> np.ndarray:
        log = self._plain.copy()
        for run in runs:
            drops = self._drops(run.change, fit)
            deviation = np.hypot(self._own(drops, fit), run.noise)
            off = ((run.drop - drops) / deviation) ** 2
            tail = (FREEDOM + 1) * np.log1p(off / FREEDOM) if fit in TO_IMAGES else off
            log -= 0.5 * tail + np.log(deviation)
        weights = np.exp(log - log.max())
        return weights / weights.sum()

    def _own(self, drops: np.ndarray, fit: str) -> np.ndarray:
        floor, share = self._prior.error[fit]
        return floor + share * drops

    def gain(self, fit: str) -> tuple[float, float]:
        """Mean and standard deviation of the logarithm of the gain."""
        weights, gains = self._weights[fit].sum(0), self._gain[fit][0]
        mean = float((weights * gains).sum())
        return mean, float((weights * (gains - mean) ** 2).sum()) ** 0.5

    def change_for(self, drop: float, fit: str) -> float:
        """The inverse of `guess`: the largest change that loses at most `drop`, by halving its logarithm."""
        low, high = math.log(LEAST), math.log(MOST)
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            fits = self.guess(math.exp(middle), fit).drop <= drop
            low, high = (middle, high) if fits else (low, middle)
        return math.exp(low)

    def guess(self, change: float, fit: str, images: int | None = None) -> Guess:
        """The drop of a network whose answers change by `change`; of `images` on which it would be measured, with the
        noise of that (None: the drop itself)."""
        weights, drops = self._weights[fit], self._drops(change, fit)
        mean = float((weights * drops).sum())
        spread = float((weights * ((drops - mean) ** 2 + self._own(drops, fit) ** 2)).sum())
        if images:
            moved = float(self._moved(np.array(change))) + mean + LEAST_MOVED
            spread += max(moved, 1 / images) / images  # each counts one up or down
        half = Z90 * spread**0.5
        return Guess(mean, max(mean - half, -1.0), min(mean + half, 1.0))
