"""From a change of the answers to the top-1 that it costs: one curve with a prior, refitted on the runs of a network.

    drop = scale * lost(x / (1 + SATURATION * x)),  x = gain * change,

where `lost` is what noise of that size costs on the calibration images (`flips`). `gain` is how much of the sum of the
layers' changes remains in the whole network, by what factors are fitted to; large changes of layers add up to less than
their sum (answers move within bounds), which `SATURATION` says; `scale` how much a changed answer costs
on the images that are evaluated. Both are known about from other networks, as log-normal priors, and their posterior is
held on a grid: nothing is linearised, and few runs move it a little.
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
"""Share of the answers that move, at least, on images that are evaluated: the network has often been trained on the
calibration images, and is surer of them than of others."""
SATURATION = 0.3
"""Fitted on 73 random plans of ResNet-20; ResNet-32, which was not among them, keeps to it."""
WIDTH = 3.0
"""Standard deviations of the priors that the grid spans to either side."""


@dataclass(frozen=True)
class Prior:
    """What is known of networks whose runs were measured: means and standard deviations of logarithms.

    Attributes:
        offset, rounding: by method of a layer, added to the logarithm of what its ranks and what rounding it changes:
            errors of some methods add up to more than others'.
        error: by fit (floor, share): the model's own error is floor + share * drop, one standard deviation, as shares
            of the images. Factors fitted to weights shift means, and such errors pile up or cancel as no sum can tell.
    """

    scale: tuple[float, float]
    gain: dict[str, tuple[float, float]]
    error: dict[str, tuple[float, float]]
    offset: dict[str, float] = field(default_factory=dict)
    rounding: dict[str, float] = field(default_factory=dict)


class Run(NamedTuple):
    """A measured run: its change, what its factors were fitted to, its drop and the drop's own standard error."""

    change: float
    fit: str
    drop: float
    noise: float


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
        self._lost = np.maximum.accumulate([max(flip.lost, 0.0) for flip in flips])
        self._changed = np.maximum.accumulate([flip.changed for flip in flips])
        axis = np.linspace(-WIDTH, WIDTH, STEPS)
        self._scale = np.exp(prior.scale[0] + prior.scale[1] * axis)[:, None]
        self._gain = {fit: mean + deviation * axis[None, :] for fit, (mean, deviation) in prior.gain.items()}
        self._plain = -0.5 * (axis[:, None] ** 2 + axis[None, :] ** 2)
        self._weights = {fit: self._posterior([run for run in runs if run.fit == fit], fit) for fit in prior.gain}

    def _drops(self, change: float, fit: str) -> np.ndarray:
        """(scales, gains)."""
        moved = max(change, 1e-12) * np.exp(self._gain[fit])
        at = np.log(moved / (1 + SATURATION * moved))
        lost = np.interp(at, self._changes, self._lost)
        below = self._lost[0] * np.exp(np.minimum(at - self._changes[0], 0.0))
        return self._scale * np.where(at < self._changes[0], below, lost)

    def _posterior(self, runs: Sequence[Run], fit: str) -> np.ndarray:
        log = self._plain.copy()
        for run in runs:
            drops = self._drops(run.change, fit)
            deviation = np.hypot(self._own(drops, fit), run.noise)
            log -= 0.5 * ((run.drop - drops) / deviation) ** 2 + np.log(deviation)
        weights = np.exp(log - log.max())
        return weights / weights.sum()

    def _own(self, drops: np.ndarray, fit: str) -> np.ndarray:
        floor, share = self._prior.error[fit]
        return floor + share * drops

    def peak(self, fit: str) -> tuple[float, float]:
        """The logarithms of the likeliest scale and gain."""
        row, column = np.unravel_index(int(self._weights[fit].argmax()), self._weights[fit].shape)
        return float(np.log(self._scale[row, 0])), float(self._gain[fit][0, column])

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
            moved = max(float(np.interp(np.log(max(change, 1e-12)), self._changes, self._changed)), LEAST_MOVED)
            spread += max(moved, mean, 1 / images) / images  # of answers that differ, each counts one up or down
        half = Z90 * spread**0.5
        return Guess(mean, max(mean - half, -1.0), min(mean + half, 1.0))
