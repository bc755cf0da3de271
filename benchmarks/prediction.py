"""How far predicted drops are from measured ones: `python -m benchmarks.prediction [--sensitivities DIR] [--runs DIR]`.

Every complete run of a network with sensitivities is predicted twice: by the prior alone, fitted on the *other*
networks where there are enough of them, which knows no more of this one than its top-1 when dense; and refitted on four
runs of its own, spread over what it was fitted to, which are not counted. `--ingredients` leaves out one part of the
prediction at a time.
"""

import argparse
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tdq_core.cli.terminal import say, say_table
from tdq_core.prediction.curve import Curve, Prior
from tdq_core.prediction.predictor import Predictor, Run, fit_of
from tdq_core.prediction.prior import PRIOR
from tdq_core.prediction.sensitivity import SENSITIVITIES, Flip, Sensitivities
from tdq_core.prediction.track import kendall
from tdq_core.records.record import RunRecord
from tdq_core.records.store import RUNS, Store, shipped_folder

FEW = 3
"""Other networks from which a prior can be fitted; with fewer the shipped one is tried."""
WIDE = (0.8, 0.7)
"""The gain before anything is known, where a prior is fitted: mean and deviation of its logarithm."""
OWN = 4
"""Runs by which a curve is refitted, of each fit."""


@dataclass(frozen=True)
class Case:
    """A measured run with its change."""

    network: str
    record: RunRecord
    run: Run
    flips: Sequence[Flip]


def cases(found: Sensitivities, records: Sequence[RunRecord], prior: Prior = PRIOR) -> list[Case]:
    predictor = Predictor(found, prior=prior)
    name = f"{found.spec.model.name} {Path(found.spec.model.weights or '').name}".strip()
    runs = ((record, predictor.seen(record)) for record in records)
    return [Case(name, record, run, found.flips) for record, run in runs if run and run.change > 0]


def fitted(known: Sequence[Case]) -> Prior:
    """A prior from the runs of several networks: of each and each fit the gain, as well as its runs tell it; mean and
    spread."""
    wide = replace(PRIOR, gain=dict.fromkeys(PRIOR.gain, WIDE))
    told: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for network in sorted({case.network for case in known}):
        own = [case for case in known if case.network == network]
        for fit in {case.run.fit for case in own}:
            runs = [case.run for case in own if case.run.fit == fit and case.run.drop < 0.4]
            if len(runs) >= OWN:
                told[fit].append(Curve(wide, own[0].flips, runs).gain(fit))
    gain = {fit: _spread(told[fit]) if told[fit] else PRIOR.gain[fit] for fit in PRIOR.gain}
    return replace(PRIOR, gain=gain)


def _spread(told: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Mean and deviation of networks whose logarithms of the gain are known so well (mean, deviation): one of which its
    runs tell little counts less (DerSimonian and Laird 1986)."""
    means, variances = np.array(told).T[0], np.array(told).T[1] ** 2
    plain = 1 / variances
    excess = float((plain * (means - np.average(means, weights=plain)) ** 2).sum()) - (len(told) - 1)
    scale = float(plain.sum() - (plain**2).sum() / plain.sum())
    between = max(excess / scale, 0.0) if scale > 0 else 0.0
    return float(np.average(means, weights=1 / (variances + between))), max(between**0.5, 0.35)


def own_runs(all_cases: Sequence[Case], fit: str) -> list[Case]:
    """Four of a network's runs, evenly over their drops."""
    able = sorted((case for case in all_cases if case.run.fit == fit), key=lambda case: case.run.change)
    at = np.linspace(0, len(able) - 1, min(OWN, len(able))).round().astype(int)
    return [able[i] for i in at]


def scored(pairs: Sequence[tuple[Case, float, float, float]]) -> tuple[str, ...]:
    """Mean absolute errors in points by the size of the drop, coverage of the interval, Kendall's tau."""
    cells = []
    for low, high in ((-1, 0.1), (-1, 0.3)):
        errors = [abs(guess - case.run.drop) for case, guess, *_ in pairs if low <= case.run.drop < high]
        cells.append(f"{100 * np.mean(errors):.2f} of {len(errors)}" if errors else "")
    inside = [low <= case.run.drop <= high for case, _, low, high in pairs]
    tau = kendall([case.run.drop for case, *_ in pairs], [guess for _, guess, *_ in pairs])
    return (*cells, f"{np.mean(inside):.0%}" if inside else "", f"{tau:.3f}")


def guesses(prior: Prior, tested: Sequence[Case], own: Sequence[Case]) -> list[tuple[Case, float, float, float]]:
    """By a curve that knows the dense network's top-1, and the runs of `own`."""
    dense = [case.run._replace(change=0.0) for case in tested[:1]]
    curve = Curve(prior, tested[0].flips, [*dense, *(case.run for case in own)]) if tested else None
    found = []
    for case in tested:
        assert curve and case.record.metrics
        guess = curve.guess(case.run.change, fit_of(case.record.spec), images=case.record.metrics.n)
        found.append((case, guess.drop, guess.low, guess.high))
    return found


def seen_as_unseen(every: Sequence[Case]) -> list[Case]:
    """As if the network were never wrong on new images."""
    return [replace(case, run=case.run._replace(dense=1.0)) for case in every]


def ingredients(kept: Sequence[Sensitivities], records: Sequence[RunRecord]) -> list[tuple[str, ...]]:
    """By network, fitted to outputs: the prior alone, whole and without one part of it."""
    whole = [case for found in kept for case in cases(found, records)]
    alike = replace(PRIOR, rounding={}, offset={})
    plain = [case for found in kept for case in cases(found, records, alike)]
    ways = {"whole": (PRIOR, whole), "seen images": (PRIOR, seen_as_unseen(whole)), "all methods alike": (alike, plain)}
    rows = []
    for network in sorted({case.network for case in whole}):
        for way, (prior, every) in ways.items():
            own = [case for case in every if case.network == network and case.run.fit == "outputs"]
            rows.append((network, way, *scored(guesses(prior, own, []))))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prediction", description=__doc__.splitlines()[0])
    parser.add_argument("--sensitivities", type=Path, default=shipped_folder(), help="a folder of runs")
    parser.add_argument("--runs", type=Path, nargs="*", default=[shipped_folder()], help="folders of runs")
    parser.add_argument("--list", action="store_true", help="also every run")
    parser.add_argument("--ingredients", action="store_true", help="instead: what each adds")
    given = parser.parse_args()
    records = [record for folder in given.runs for record in Store(RUNS, folder).all() if record.state == "complete"]
    kept = Store(SENSITIVITIES, given.sensitivities).all()
    if given.ingredients:
        heads = ("network", "prediction", "error below 10", "below 30", "in 90 %", "tau")
        say_table(heads, ingredients(kept, records))
        return
    every = [case for found in kept for case in cases(found, records)]
    rows = []
    for network in sorted({case.network for case in every}):
        here, others = ([c for c in every if (c.network == network) is same] for same in (True, False))
        others = len({case.network for case in others}) >= FEW and others
        prior, of = (fitted(others), "prior of the others") if others else (PRIOR, "shipped prior")
        for fit in sorted({case.run.fit for case in here}):
            tested = [case for case in here if case.run.fit == fit]
            own = own_runs(here, fit)
            rest = [case for case in tested if case not in own]
            rows.append((network, fit, of, *scored(guesses(prior, tested, []))))
            rows.append((network, fit, f"and {len(own)} own runs", *scored(guesses(prior, rest, own))))
            if given.list:
                for case, guess, low, high in guesses(prior, rest, own):
                    spec, bounds = case.record.spec, f"[{100 * low:.2f}, {100 * high:.2f}]"
                    said = f"{100 * case.run.drop:.2f}, predicted {100 * guess:.2f} {bounds}"
                    say(f"{network} {spec.method} {fit} {spec.precision.name} {case.record.run_id}: {said}")
    say_table(("network", "fit", "curve", "error below 10", "below 30", "in 90 %", "tau"), rows)
    whole = fitted(every)
    say("", f"Prior from all: gain {whole.gain}")


if __name__ == "__main__":
    main()
