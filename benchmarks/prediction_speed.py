"""How long a prediction takes, and how long the other way round: a deep network's layers, made-up changes.

    python -m benchmarks.prediction_speed [--model resnet50_cifar10] [--plans 1000]

The layers and their spectra are those of the shipped table of the model; what each layer does to the answers is drawn,
for how long the arithmetic takes does not depend on it. Prints milliseconds of predicting random plans (the plan itself
is there), of making a plan by each policy, and of going from a drop to its plan: the first time, and from then on.
"""

import argparse
import functools
import random
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from msgspec import structs

from tdq_core.cli.terminal import say_table
from tdq_core.layers.methods import Ranks
from tdq_core.layers.table import Layer, LayerTable
from tdq_core.prediction.inverse import with_drop
from tdq_core.prediction.predictor import Predictor
from tdq_core.prediction.sensitivity import MEASURED, Flip, LayerChanges, Point, Sensitivities
from tdq_core.ranks.costs import cost, dense_cost, ladder, method_for, refusal
from tdq_core.ranks.expected import expected_error
from tdq_core.ranks.plan import LayerPlan, make_plan
from tdq_core.records.store import shipped_folder
from tdq_core.specs import RankRule, RunSpec

RATIO = 1.5
FORMS = {"tucker2": "tucker2", "svd": "svd", "cp+epc": "cp"}


def made_up(table: LayerTable, model: str, draw: random.Random) -> Sensitivities:
    """Sensitivities with four points a form."""
    layers = {la.name: _changes(la, draw) for la in table.layers if la.refusal is None}
    flips = tuple(Flip(change=0.001 * 1.3**n, changed=min(1.0, 0.002 * 1.25**n), lost=min(0.9, 0.001 * 1.25**n))
                  for n in range(30))  # fmt: skip
    return Sensitivities(
        sensitivity_id="a" * 16, spec=RunSpec.of(model, "cifar10-jpeg"), digests={"model": "0", "calib": "1"},
        tables={"outputs": table, "weights": table}, images=64, layers=layers, flips=flips, provenance={},
    )  # fmt: skip


def _changes(layer: Layer, draw: random.Random) -> LayerChanges:
    weight, fits = draw.uniform(0.01, 0.2), {}
    for form, name in FORMS.items():
        rungs = _rungs(layer, name)
        some = {rungs[int(share * (len(rungs) - 1))] for share in (0.02, 0.2, 0.5, 0.9)} if rungs else ()
        points = [Point(ranks=r, error=(e := float(expected_error(layer, name, r))), change=weight * e) for r in some]
        if points:
            fits[form] = {"outputs": tuple(sorted(points, key=lambda point: -point.error))}
    rounding = {form: dict.fromkeys(MEASURED, weight * 0.01) for form in ("dense", "cp", *FORMS)}
    return LayerChanges(fits=fits, rounding=rounding)


@functools.cache
def _rungs(layer: Layer, name: str) -> list[Ranks]:
    return [r for r, _ in ladder(layer, name)] if layer.refusal is None and refusal(layer, name) is None else []


def fresh(found: Sensitivities) -> Predictor:
    """Of layers that nobody has made a plan of yet."""
    tables = {fit: replace(t, layers=tuple(replace(la) for la in t.layers)) for fit, t in found.tables.items()}
    return Predictor(structs.replace(found, tables=tables))


def random_plan(table: LayerTable, name: str, draw: random.Random) -> list[LayerPlan]:
    parts = []
    for layer in table.layers:
        own = method_for(layer, name)
        rungs = _rungs(layer, own)
        if not rungs:
            parts.append(LayerPlan(layer, "none", (), dense_cost(layer), "no ranks"))
            continue
        ranks = draw.choice(rungs[len(rungs) // 4 :])
        parts.append(LayerPlan(layer, own, ranks, cost(layer, own, ranks)))
    return parts


def timed(work: Callable[..., object], *given: object) -> float:
    """Milliseconds of `work` on what is given."""
    begun = time.perf_counter()
    work(*given)
    return 1000 * (time.perf_counter() - begun)


def times(predictor: Predictor, spec: RunSpec, plans: int, draw: random.Random) -> Iterator[tuple[str, list[float]]]:
    """Of one method: what was done, and the milliseconds that it took each time."""
    name = spec.method
    some = [random_plan(predictor.table(spec), name, draw) for _ in range(plans)]
    yield f"predict, {name}", [timed(predictor.predict, spec, plan) for plan in some]
    for policy in ("uniform", "predicted") if name == "cp" else ("uniform", "global", "predicted"):
        own = spec.changed(rule=RankRule("ratio", RATIO, policy=policy))
        table = predictor.table(own)
        yield f"plan by {policy}, {name}", [timed(make_plan, table, name, own.rule, own.precision) for _ in range(5)]
    found = predictor.sensitivities
    yield f"ranks for a drop, {name}, the first time", [timed(with_drop, fresh(found), spec, 0.3) for _ in range(3)]
    yield f"ranks for a drop, {name}", [timed(with_drop, predictor, spec, drop) for drop in (0.2, 0.3, 0.4)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prediction_speed", description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet50_cifar10")
    parser.add_argument("--plans", type=int, default=1000)
    asked, draw = parser.parse_args(), random.Random(0)
    table = LayerTable.read(next((shipped_folder() / "layers").glob(f"{asked.model}-*.json")))
    predictor = Predictor(made_up(table, asked.model, draw))
    heads, rows = ("what", "median, ms", "p95, ms", "most, ms"), []
    for name in ("auto", "svd", "cp"):
        spec = RunSpec.of(asked.model, "cifar10-jpeg", method=name, epc=name == "cp", calibrated=True, precision="w4a8",
                          rule=RankRule("ratio", RATIO, policy="predicted"))  # fmt: skip
        for what, took in times(predictor, spec, asked.plans, draw):
            p95 = sorted(took)[int(0.95 * (len(took) - 1))]
            rows.append((what, f"{statistics.median(took):.1f}", f"{p95:.1f}", f"{max(took):.1f}"))
    say_table(heads, rows, right=heads[1:])


if __name__ == "__main__":
    main()
