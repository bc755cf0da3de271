"""Random plans, really measured, to hold predictions against: `python -m benchmarks.random_plans MODEL DATA FOLDER`.

Ranks are drawn layer by layer around a ratio between 1.2 and 6, for Tucker-2, CP with EPC, SVD and auto in turn, fitted
to outputs, at fp32 to W4A8. The runs go to FOLDER; `python -m benchmarks.prediction --runs FOLDER` reads them.
"""

import argparse
import math
import random
from pathlib import Path

from tdq_core.cli.terminal import say
from tdq_core.layers.table import Layer, LayerTable
from tdq_core.pipeline.run import run
from tdq_core.pipeline.session import Session
from tdq_core.ranks.budget import Budget
from tdq_core.ranks.costs import cost, ladder, max_ranks, method_for
from tdq_core.ranks.takers import why_left
from tdq_core.records.store import RunStore
from tdq_core.specs import RankRule, RunSpec

METHODS = ("tucker2", "cp", "svd", "auto")
NUMBERS = (
    ("fp32", "torch"), ("fp16", "torch"), ("int8", "onnxruntime"), ("w6", "torch"), ("w4", "torch"), ("w8a8", "torch"),
    ("w6a6", "torch"), ("w4a8", "torch"), ("fp32", "torch"), ("int8", "onnxruntime"),
)  # fmt: skip
RATIOS = (1.2, 6.0)


def drawn(base: RunSpec, table: LayerTable, number: int, effort: str = "usual") -> RunSpec:
    """The plan of this number: always the same."""
    draw = random.Random(1000 + number)
    method, (precision, backend) = METHODS[number % 4], NUMBERS[(number * 7 + number // 10) % 10]
    ratio = math.exp(draw.uniform(*map(math.log, RATIOS)))
    budget = Budget(table, RankRule("ratio", ratio))
    able = [la for la in table.layers if not why_left(la, method, budget)]
    ranks = {la.name: found for la in able if (found := of_share(la, method_for(la, method), 1 / ratio, draw))}
    rule = RankRule("manual", ranks=ranks)  # type: ignore[arg-type]
    made = {"effort": effort} if method == "cp" else {}
    return base.changed(method=method, rule=rule, epc=method == "cp", calibrated=True, precision=precision,
                        backend=backend, **made)  # fmt: skip


def of_share(layer: Layer, method: str, share: float, draw: random.Random) -> int | tuple[int, ...] | None:
    """Of about this share of the layer's params; None where it stays dense."""
    share *= math.exp(draw.gauss(0, 0.45))
    if share >= 0.97:
        return None
    ranks = min(ladder(layer, method), key=lambda rung: abs(rung[1].params - share * layer.params))[0]
    if len(ranks) == 1:
        return ranks[0]
    turn = math.exp(draw.gauss(0, 0.2))
    tops = max_ranks(layer, method)
    turned = tuple(min(top, max(1, round(r * way)))
                   for r, top, way in zip(ranks, tops, (turn, 1 / turn), strict=True))  # fmt: skip
    return turned if cost(layer, method, turned).params < layer.params else ranks


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.random_plans", description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights")
    parser.add_argument("--samples", type=int)
    parser.add_argument("--first", type=int, default=0, help="number of the first plan; 0 to 32 chose the offsets")
    parser.add_argument("--plans", type=int, default=40)
    parser.add_argument("--effort", default="usual", help="of CP's search; wide networks: quick")
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS, help="others are passed over")
    given = parser.parse_args()
    session, store = Session(), RunStore(given.folder)
    base = RunSpec.of(given.model, given.data, weights=given.weights, samples=given.samples)
    table = session.open(base).table(spectra=False)
    for number in range(given.first, given.first + given.plans):
        spec = drawn(base, table, number, given.effort)
        if spec.method not in given.methods:
            continue
        record = run(spec, store=store, session=session).record
        told = f"drop {100 * record.drop()[0]:+.2f}" if record.metrics else str(record.reason)
        say(f"{number} {record.run_id} {record.spec.method} {record.spec.precision.name}: {told}")


if __name__ == "__main__":
    main()
