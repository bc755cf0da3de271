"""CP and integers, from plain ALS to the full cure: top-1 of every step, paired with its own fp32 run.

    python -m benchmarks.cp_int8 --model resnet20_cifar10 --weights FILE --data folder:TEST --calib folder:CALIB

Without arguments the embedded model. Every row is made of ordinary runs: they are kept in the run store, and a second
call reads them there. Also counted: how often the warning that comes before any image was right.
"""

import argparse
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tdq_core.cli.terminal import progress_bars
from tdq_core.compression.condition.rounding import FAILING
from tdq_core.pipeline.run import run
from tdq_core.records.record import RunRecord
from tdq_core.records.store import RunStore
from tdq_core.specs import RankRule, RunSpec
from tdq_core.stats.intervals import paired_mean

INT8 = (("onnxruntime", "tensor"), ("onnxruntime", "channel"), ("torch", "channel"))
SIMULATED = ("w8", "w6", "w4", "w8a8", "w6a6", "w4a8", "w4a4")
LOOSE = 0.05
QUANTIZERS = (("channel", "minmax"), ("channel", "mse"), ("tensor", "minmax"), ("tensor", "mse"))


@dataclass(frozen=True)
class Row:
    """One way to make the model: what is written, and the spec at fp32."""

    text: str
    spec: RunSpec
    condition: bool = False


def main(arguments: Sequence[str] = ()) -> None:
    options = _options(arguments)
    plain = RunSpec.of(
        options.model, options.data, calib=options.calib, weights=options.weights, samples=options.samples
    )
    bench = _Bench(RunStore(options.runs) if options.runs else RunStore())
    rows = list(_rows(plain, options.ratio))
    print(
        f"{options.model}, ratio {options.ratio:g}, {options.samples or 'all'} images of {plain.data}; points of top-1"
    )
    _print_int8(bench, rows)
    if options.bits:
        _print_bits(bench, [row for row in rows if row.condition or row.text.startswith(("dense", "CP by ALS"))])
        _print_quantizers(bench, rows[-1])
    _print_forecast(bench.seen)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cp_int8", description=__doc__)
    parser.add_argument("--model", default="digits_resnet")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--calib")
    parser.add_argument("--weights")
    parser.add_argument("--samples", type=int)
    parser.add_argument("--ratio", type=float, default=1.67)
    parser.add_argument("--runs", type=Path, help="where the runs are kept")
    parser.add_argument("--bits", action="store_true", help="also the simulated bits")
    return parser.parse_args(list(arguments))


def _rows(plain: RunSpec, ratio: float) -> Iterator[Row]:
    cp = plain.changed(method="cp", rule=RankRule("ratio", ratio))
    epc = cp.changed(epc=True)
    loose = epc.changed(eta=LOOSE)
    yield Row("dense", plain)
    yield Row("CP by ALS", cp)
    yield Row("CP by ALS, conditioned", cp, condition=True)
    yield Row(f"CP + EPC, {1 + LOOSE:g} x the ALS error", loose)
    yield Row(f"CP + EPC, {1 + LOOSE:g} x the ALS error, conditioned", loose, condition=True)
    yield Row("CP + EPC at the ALS error", epc)
    yield Row("the same, batch norms re-estimated, conditioned", epc.changed(reestimate_bn=True), condition=True)
    yield Row("CP + EPC at the ALS error, conditioned", epc, condition=True)


class _Bench:
    """Runs specs and remembers the integer runs beside their fp32 ones."""

    def __init__(self, store: RunStore) -> None:
        self._store = store
        self.seen: dict[str, tuple[RunRecord, RunRecord]] = {}

    def __call__(self, spec: RunSpec) -> RunRecord:
        with progress_bars() as on_progress:
            record = run(spec, store=self._store, on_progress=on_progress).record
        if record.state != "complete":
            raise SystemExit(f"{spec.method} {spec.precision}: {record.reason}")
        return record

    def integers(self, row: Row, **changes: str) -> tuple[RunRecord, RunRecord]:
        """The run of `row` with `changes`, and the fp32 run it is held against."""
        pair = self(row.spec.changed(condition=row.condition, **changes)), self(row.spec)
        self.seen[pair[0].run_id] = pair
        return pair


def _print_int8(bench: _Bench, rows: list[Row]) -> None:
    heads = [f"INT8 {backend}, per {granularity}" for backend, granularity in INT8]
    print(f"\n| | fp32 | lost to dense | {' | '.join(heads)} |\n|---|---|---|{'---|' * len(heads)}")
    for row in rows:
        dense = bench(row.spec)
        assert dense.metrics
        cells = [
            _cell(*bench.integers(row, precision="int8", backend=backend, granularity=granularity))
            for backend, granularity in INT8
        ]
        print(
            f"| {row.text} | {100 * dense.metrics.top1:.2f} | {_points(dense.drop())} | {' | '.join(cells)} |",
            flush=True,
        )


def _print_bits(bench: _Bench, rows: list[Row]) -> None:
    print(f"\nSimulated, per channel, min-max\n\n| | {' | '.join(SIMULATED)} |\n|---|{'---|' * len(SIMULATED)}")
    for row in rows:
        cells = [_cell(*bench.integers(row, precision=precision)) for precision in SIMULATED]
        print(f"| {row.text} | {' | '.join(cells)} |", flush=True)


def _print_quantizers(bench: _Bench, row: Row) -> None:
    print(f"\n{row.text}, by quantizer\n\n| | {' | '.join(SIMULATED)} |\n|---|{'---|' * len(SIMULATED)}")
    for granularity, ranges in QUANTIZERS:
        cells = [
            _cell(*bench.integers(row, precision=precision, granularity=granularity, ranges=ranges))
            for precision in SIMULATED
        ]
        print(f"| per {granularity}, {ranges} | {' | '.join(cells)} |", flush=True)


def _print_forecast(seen: dict[str, tuple[RunRecord, RunRecord]]) -> None:
    """How often 'more than a point will be lost' was right, over the decomposed integer runs above."""
    counts = dict.fromkeys(itertools.product((True, False), repeat=2), 0)
    for integer, own in seen.values():
        errors = [layer.detail["rounding_error"] for layer in integer.layers if "rounding_error" in layer.detail]
        if not errors:
            continue
        predicted = (sum(e**2 for e in errors) / len(errors)) ** 0.5 > FAILING
        counts[predicted, _lost(integer, own)[0] > 0.01] += 1
    print(
        f"\nWarned before any image, and more than a point was lost to integers: {counts[True, True]}; "
        f"warned, less was lost: {counts[True, False]}; not warned, more was lost: {counts[False, True]}; "
        f"not warned, less was lost: {counts[False, False]}."
    )


def _cell(integer: RunRecord, own: RunRecord) -> str:
    assert integer.metrics
    return f"{100 * integer.metrics.top1:.2f}, lost {_points(_lost(integer, own))}"


def _lost(integer: RunRecord, own: RunRecord) -> tuple[float, float, float]:
    assert integer.metrics and own.metrics
    return paired_mean(own.metrics.correct().astype(float) - integer.metrics.correct().astype(float))


def _points(interval: tuple[float, float, float]) -> str:
    middle, low, high = (100 * value for value in interval)
    return f"{middle:.2f} [{low:.2f}, {high:.2f}]"


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
