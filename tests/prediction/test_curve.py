"""The curve from a change to a drop: its interval holds what it says, and runs of the network move it."""

import numpy as np
import pytest

from tdq_core.prediction.curve import Curve, Prior, Run
from tdq_core.prediction.flips import flips
from tdq_core.prediction.prior import PRIOR
from tdq_core.prediction.sensitivity import FITS
from tdq_core.prediction.track import kendall

WRONG = 0.2
KNOWN = Prior(wrong=WRONG, scale=(0.0, 0.3), gain={"outputs": (0.0, 0.5)}, error={"outputs": (0.003, 0.08)})


def made_up(seed: int = 0) -> np.ndarray:
    """(images, classes) logits with margins of all sizes."""
    draw = np.random.default_rng(seed)
    logits = draw.standard_normal((200, 10))
    logits[np.arange(200), draw.integers(0, 10, 200)] += draw.uniform(0, 8, 200)
    return logits


FLIPS = flips(made_up())


def test_flips_rise_from_none_to_nearly_all() -> None:
    changed = [flip.changed for flip in FLIPS]
    assert changed[0] < 0.02 and changed[-1] > 0.5
    assert flips(made_up()) == FLIPS, "the same logits give the same curve"
    lost = [flip.lost for flip in FLIPS]
    assert max(lost) <= max(changed) and lost[-1] > lost[30] > lost[10]


def test_noise_moves_as_many_answers_as_independent_draws_say() -> None:
    logits = made_up()
    flip = FLIPS[40]
    centred = logits - logits.mean(1, keepdims=True)
    deviation = np.sqrt(flip.change * np.square(centred).sum(1).mean() / 9)
    draw = np.random.default_rng(7)
    moved = [np.mean((logits + deviation * draw.standard_normal(logits.shape)).argmax(1) != logits.argmax(1))
             for _ in range(64)]  # fmt: skip
    assert flip.changed == pytest.approx(float(np.mean(moved)), abs=0.01)


def moved(change: float) -> float:
    return float(np.interp(np.log(change), np.log([f.change for f in FLIPS]), [f.changed for f in FLIPS]))


def change_of(share: float) -> float:
    return float(np.exp(np.interp(share, [f.changed for f in FLIPS], np.log([f.change for f in FLIPS]))))


def truth(change: float, scale: float, gain: float, wrong: float = WRONG) -> float:
    start = change_of(wrong)
    return float(np.exp(scale)) * (moved(start + change * float(np.exp(gain)) * start**0.5) - moved(start))


@pytest.mark.parametrize("own", [0, 4])
def test_the_interval_holds_the_drop_in_nine_of_ten_cases(own: int) -> None:
    draw = np.random.default_rng(3)
    inside = []
    for _ in range(300):
        scale, gain = draw.normal(0, 0.3), draw.normal(0, 0.5)

        def measured(change: float, scale: float = scale, gain: float = gain) -> float:
            true = truth(change, scale, gain)
            return true + draw.normal(0, np.hypot(0.003 + 0.08 * true, 0.004))

        changes = np.exp(draw.uniform(np.log(0.01), np.log(1), own + 1))
        runs = [Run(c, "outputs", measured(c), 0.004, 1 - WRONG) for c in changes[:own]]
        guess = Curve(KNOWN, FLIPS, runs).guess(changes[-1], "outputs")
        half = np.hypot(guess.high - guess.drop, 1.645 * 0.004)
        inside.append(abs(measured(changes[-1]) - guess.drop) <= half)
    assert 0.82 <= np.mean(inside) <= 0.97


def test_runs_move_the_curve_towards_them_and_narrow_it() -> None:
    runs = [Run(c, "outputs", truth(c, 0.3, 0.6), 0.002, 1 - WRONG) for c in (0.05, 0.2, 0.6)]
    before, after = (Curve(KNOWN, FLIPS, r).guess(0.3, "outputs") for r in ((), runs))
    true = truth(0.3, 0.3, 0.6)
    assert abs(after.drop - true) < abs(before.drop - true) / 2
    assert after.high - after.low < before.high - before.low


def test_one_run_that_lies_far_off_moves_the_curve_little() -> None:
    runs = [Run(c, "outputs", truth(c, 0.0, 0.0), 0.004, 1 - WRONG) for c in (0.05, 0.1, 0.2, 0.4)]
    off = runs[2]._replace(drop=runs[2].drop + 0.1)
    agreed, misled = (Curve(KNOWN, FLIPS, each).guess(0.3, "outputs").drop for each in (runs, [*runs, off]))
    assert abs(misled - agreed) < 0.01
    many = [run._replace(drop=run.drop + 0.1) for run in runs for _ in range(3)]
    assert Curve(KNOWN, FLIPS, [*runs, *many]).guess(0.3, "outputs").drop - agreed > 0.03, "but many do"


@pytest.mark.parametrize("wrong", [0.05, 0.2, 0.4])
def test_images_that_no_training_saw_are_told_from_the_top_1_on_them(wrong: float) -> None:
    """A network that is seldom wrong loses less by a small change than one that is often: its answers are surer."""
    sure = Prior(wrong=0.5, scale=(0.0, 1e-6), gain={"outputs": (0.0, 1e-6)}, error={"outputs": (0.003, 0.08)})
    curve = Curve(sure, FLIPS, [Run(0.0, "outputs", 0.0, 0.0, 1 - wrong)])
    for change in (0.003, 0.05, 0.4):
        assert curve.guess(change, "outputs").drop == pytest.approx(truth(change, 0.0, 0.0, wrong), rel=1e-3)


def test_held_out_images_lose_what_noise_costs_them() -> None:
    """With truth known: the logits of unseen images are those of seen ones with noise, as is what is done to both."""
    draw, logits = np.random.default_rng(5), np.tile(made_up(), (40, 1))
    right = logits.argmax(1)
    power = np.square(logits - logits.mean(1, keepdims=True)).sum(1).mean() / 9
    noise = [np.sqrt(c * power) * draw.standard_normal(logits.shape) for c in (0.5, 0.1)]
    unseen = logits + noise[0]
    dense = float(np.mean(unseen.argmax(1) == right))
    drop = dense - float(np.mean((unseen + noise[1]).argmax(1) == right))
    exact = Prior(wrong=0.5, scale=(0.0, 1e-6), gain={"weights": (0.0, 1e-6)}, error={"weights": (0.003, 0.08)})
    told = Curve(exact, FLIPS, [Run(0.0, "weights", 0.0, 0.0, dense)]).guess(0.1, "weights").drop
    assert told == pytest.approx(drop, abs=0.01) and drop > 0.02


def test_a_larger_change_loses_more_and_none_loses_nothing() -> None:
    curve = Curve(PRIOR, FLIPS)
    for fit in FITS:
        drops = [curve.guess(change, fit).drop for change in (0.0, 1e-7, 1e-4, 0.01, 0.1, 0.5, 2.0, 50.0)]
        assert drops == sorted(drops) and 0 <= drops[0] < 1e-4


def test_fewer_images_widen_what_would_be_measured() -> None:
    curve = Curve(PRIOR, FLIPS)
    widths = [g.high - g.low for g in (curve.guess(0.1, "outputs", images=n) for n in (None, 10_000, 100))]
    assert widths == sorted(widths) and widths[2] > widths[0]


def test_kendalls_tau() -> None:
    scipy_stats = pytest.importorskip("scipy.stats")
    draw = np.random.default_rng(0)
    a, b = draw.integers(0, 6, 30), draw.integers(0, 6, 30)
    assert kendall(a, b) == pytest.approx(scipy_stats.kendalltau(a, b).statistic)
    assert kendall([1, 2, 3], [4, 5, 6]) == pytest.approx(1) and kendall([1, 1], [1, 2]) == 0


def test_runs_tell_the_gain_the_better_the_more_they_are() -> None:
    """With none it is the prior; with more it is known better, and lies nearer to the truth."""
    dense = Run(0.0, "outputs", 0.0, 0.0, 1 - WRONG)
    runs = [Run(x, "outputs", truth(x, 0.0, 0.6), 0.003, 1 - WRONG) for x in (0.05, 0.1, 0.2, 0.4)]
    told = [Curve(KNOWN, FLIPS, [dense, *runs[:n]]).gain("outputs") for n in (0, 1, 4)]
    assert told[0] == pytest.approx(KNOWN.gain["outputs"], abs=0.03)
    assert told[0][1] > told[1][1] > told[2][1]
    assert abs(told[2][0] - 0.6) < abs(told[0][0] - 0.6) / 2
