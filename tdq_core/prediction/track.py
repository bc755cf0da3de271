"""The track record: what had been predicted of runs before they were measured, against what was measured."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from tdq_core.prediction.predictor import Prediction
from tdq_core.records.record import RunRecord


class Kept(NamedTuple):
    """A run, and what had been predicted of it."""

    record: RunRecord
    prediction: Prediction


class Score(NamedTuple):
    """How predictions fared.

    Attributes:
        runs: that were predicted and measured.
        error: mean absolute error of the drop, as a share of the images.
        covered: share of the runs whose measured drop lay within the 90 % interval.
        tau: Kendall's rank correlation of predicted and measured drops; None of fewer than three runs.
    """

    runs: int
    error: float
    covered: float
    tau: float | None


def prediction_of(record: RunRecord) -> Prediction | None:
    """What had been predicted of it before it was measured; None where nobody asked."""
    told = record.provenance.get("predicted")
    if told is None:
        return None
    return msgspec.convert({name: value for name, value in told.items() if name != "sensitivities"}, Prediction)


def kept(records: Iterable[RunRecord]) -> list[Kept]:
    """The measured runs of which a drop had been predicted."""
    found = ((record, record.remembered(prediction_of)) for record in records if record.metrics)
    return [Kept(record, made) for record, made in found if made and made.drop is not None]


def score(runs: Sequence[Kept]) -> Score:
    """Of at least one run."""
    measured = np.array([run.record.drop()[0] for run in runs])
    predicted = np.array([run.prediction.drop for run in runs], dtype=float)
    low, high = (np.array([getattr(run.prediction, end) for run in runs], dtype=float) for end in ("low", "high"))
    covered = float(np.mean((low <= measured) & (measured <= high)))
    tau = kendall(measured, predicted) if len(runs) > 2 else None
    return Score(len(runs), float(np.abs(measured - predicted).mean()), covered, tau)


def by_group(runs: Sequence[Kept]) -> dict[tuple[str, str, str], list[Kept]]:
    """By network, method and precision."""
    groups: dict[tuple[str, str, str], list[Kept]] = defaultdict(list)
    for run in runs:
        spec = run.record.spec
        groups[spec.model.name, spec.method, spec.precision.name].append(run)
    return dict(groups)


def kendall(a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray) -> float:
    """Kendall's tau-b: agreement of two orders, from -1 to 1; 0 where one of them is no order."""
    x, y = np.sign(np.subtract.outer(a, a)), np.sign(np.subtract.outer(b, b))
    norm = float(np.sqrt(np.square(x).sum() * np.square(y).sum()))
    return float((x * y).sum()) / norm if norm else 0.0


def in_words(found: Prediction) -> str:
    """One sentence."""
    if found.drop is None or found.low is None or found.high is None:
        return found.reason or ""
    points = f"Predicted drop {100 * found.drop:+.2f} points [{100 * found.low:+.2f}, {100 * found.high:+.2f}], 90 %"
    noise = " That is within noise: less than a point ranks nothing." if found.within_noise else ""
    runs = f"refitted on {found.runs} run{'s' * (found.runs != 1)}" if found.runs else "from other networks' runs alone"
    return f"{points}, {runs}.{noise}"
