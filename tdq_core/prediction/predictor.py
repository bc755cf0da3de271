"""The drop of a run before it is measured, from the sensitivities of its network and the runs that are there."""

import math
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Sequence

from msgspec import Struct

from tdq_core.layers.table import LayerTable
from tdq_core.prediction.allocation import plan_table, shares_by_changes
from tdq_core.prediction.change import Asked, Changes, Part, Unknown, parts_of
from tdq_core.prediction.curve import Curve, Prior, Run
from tdq_core.prediction.prior import PRIOR
from tdq_core.prediction.sensitivity import Sensitivities
from tdq_core.ranks.bits import named_bits
from tdq_core.ranks.plan import LayerPlan
from tdq_core.records.record import RunRecord
from tdq_core.specs import RunSpec
from tdq_core.stats.score import Z95

TABLES = 4
"""Of what was asked last, that are remembered with what plans have worked out: about 8 MB each of ResNet-50."""
POINT = 0.01
"""Below a point of top-1 a prediction ranks nothing."""


class Prediction(Struct, frozen=True, kw_only=True):
    """A predicted drop of top-1 against the dense fp32 network, as a share of the images (0-1), or why there is none.

    Attributes:
        low, high: 90 % interval; of what would be measured where the number of images is known.
        within_noise: less than a point: it ranks nothing.
        reason: why nothing is predicted; None where something is.
        runs: of this network, by which the curve was refitted.
    """

    drop: float | None = None
    low: float | None = None
    high: float | None = None
    within_noise: bool = False
    reason: str | None = None
    runs: int = 0


class Predictor:
    """Of one network; asking it is arithmetic alone."""

    def __init__(
        self, found: Sensitivities, records: Iterable[RunRecord] = (), *, prior: Prior = PRIOR,
        memory: dict[str, Run | None] | None = None,
    ) -> None:  # fmt: skip
        """`memory`: by id what `seen` says of runs under the same sensitivities and prior, so that one run more does
        not cost all of them again; it is filled."""
        self.sensitivities = found
        self._prior, self._changes = prior, Changes(found)
        self._tables: OrderedDict[Hashable, LayerTable] = OrderedDict()
        known, records = {} if memory is None else memory, list(records)
        for record in records:
            if record.run_id not in known:
                known[record.run_id] = self.seen(record)
        self.runs = [run for record in records if (run := known[record.run_id])]
        self._curve = Curve(prior, found.flips, self.runs)

    def table(self, spec: RunSpec) -> LayerTable:
        """The layers with the spectra that a plan of `spec` is made from; the same ones as the last time, which
        remember what earlier plans have worked out."""
        key: Hashable = spec.calibrated
        if shares_by_changes(spec):
            table = self.sensitivities.tables["outputs"]
            try:
                asked = Asked.of(spec, table.layers)
            except Unknown:
                return plan_table(self.sensitivities, spec)  # which says so
            key = (spec.calibrated, asked, tuple(sorted(named_bits(table, spec.precision).items())))
        if key not in self._tables:
            self._tables[key] = plan_table(self.sensitivities, spec)
            while len(self._tables) > TABLES:
                self._tables.popitem(last=False)
        self._tables.move_to_end(key)
        return self._tables[key]

    def predict(self, spec: RunSpec, layers: Sequence[LayerPlan], *, images: int | None = None) -> Prediction:
        """Of a run of `spec` whose layers become `layers`.

        Args:
            images: on which it would be measured: the interval then holds the noise of that as well.
        """
        try:
            change = self._change(spec, parts_of(layers))
        except Unknown as unknown:
            return Prediction(reason=f"Nothing is predicted: {unknown}.")
        guess = self._curve.guess(change, fit_of(spec), images=images)
        return Prediction(drop=guess.drop, low=guess.low, high=guess.high, within_noise=guess.drop < POINT,
                          runs=sum(run.change > 0 and run.fit == fit_of(spec) for run in self.runs))  # fmt: skip

    def change_for(self, spec: RunSpec, drop: float) -> float:
        """The largest sum of changes, weighed as `weight` has it, of which a run of `spec` is predicted to lose at most
        `drop`."""
        return self._curve.change_for(drop, fit_of(spec))

    def weight(self, spec: RunSpec, layers: Sequence[LayerPlan]) -> float:
        """How many times its plain sum the changes of this plan count.

        Raises:
            Unknown: as `Changes.of`.
        """
        parts = parts_of(layers)
        plain = self._changes.of(parts, Asked.of(spec, self.table(spec).layers))
        return self._change(spec, parts) / plain if plain > 0 else 1.0

    def seen(self, record: RunRecord) -> Run | None:
        """As the curve is fitted to it, the dense network as one without a change; None where it is of another network
        or nothing is known of what it does."""
        if record.metrics is None or record.digests.get("model") != self.sensitivities.digests["model"]:
            return None
        table = self.table(record.spec)
        parts = [Part(kept.name, kept.method, kept.ranks, kept.bits) for kept in record.layers]
        if not all(table.has(part.layer) for part in parts):
            return None
        try:
            change = self._change(record.spec, parts)
        except Unknown:
            return None
        drop, low, high = record.drop()
        return Run(change, fit_of(record.spec), drop, (high - low) / (2 * Z95), record.metrics.top1 + drop)

    def _change(self, spec: RunSpec, parts: Sequence[Part]) -> float:
        """The sum as the curve takes it: of each layer what its ranks and what rounding it changes, by its method."""
        asked, total = Asked.of(spec, self.table(spec).layers), 0.0
        for method in dict.fromkeys(part.method for part in parts):
            own = [part for part in parts if part.method == method]
            ranks = self._changes.of(own, asked.in_floats)
            rounding = self._changes.of(own, asked) - ranks
            total += math.exp(self._prior.offset.get(method, 0.0)) * ranks
            total += math.exp(self._prior.rounding.get(method, 0.0)) * rounding
        return total


def fit_of(spec: RunSpec) -> str:
    """Whose gain the sum has: of networks that are only rounded, that of factors fitted to outputs."""
    made = spec.decomposition
    if made is None:
        return "outputs"
    return "symmetric" if made.symmetric else "outputs" if made.calibrated else "weights"
