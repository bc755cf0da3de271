"""Below eight bits: nearest points and quantization-aware rounding, dense and decomposed; top-1 of every step.

    python -m benchmarks.low_bits --model resnet20_cifar10 --weights FILE --data folder:TEST --calib folder:CALIB

Without arguments the embedded model. Every cell is an ordinary run: it is kept in the run store, and a second call
reads it there. Drops are against dense fp32 on the same images, paired, with 95 % intervals.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from tdq_core.cli.terminal import progress_bars
from tdq_core.pipeline.run import run
from tdq_core.pipeline.session import Session
from tdq_core.records.record import RunRecord
from tdq_core.records.store import RunStore
from tdq_core.specs import RankRule, RunSpec

PRECISIONS = ("w4a8", "w3a8", "w4a4", "w6a6")
KEPT = (0.6, 0.4)
METHODS = ("none", "cp", "tucker2")
AWARE = {"quantization_aware": True}
NEAREST = {"ranges": "mse"}


def main(arguments: Sequence[str] = ()) -> None:
    options = _options(arguments)
    plain = RunSpec.of(
        options.model, options.data, calib=options.calib, weights=options.weights, samples=options.samples
    )
    bench = _Bench(RunStore(options.runs) if options.runs else RunStore())
    base = bench(plain)
    assert base.metrics
    print(f"{plain.model}, dense fp32 {100 * base.metrics.top1:.2f} %, {base.metrics.n} images of {options.data}")
    heads = ("", "fp32", *(p.upper() for p in options.precisions))
    print(f"\n| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for text, spec in _rows(plain, options.kept, options.methods):
        print(f"| {text} | {_cell(bench(spec))} ", end="", flush=True)
        for precision in options.precisions:
            print(f"| {_cell(bench(spec.changed(precision=precision, **options.way)))} ", end="", flush=True)
        print("|", flush=True)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.low_bits", description=__doc__)
    parser.add_argument("--model", default="digits_resnet")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--calib")
    parser.add_argument("--weights")
    parser.add_argument("--samples", type=int)
    parser.add_argument("--runs", type=Path, help="where the runs are kept")
    parser.add_argument("--precisions", nargs="+", default=list(PRECISIONS))
    parser.add_argument("--kept", nargs="+", type=float, default=KEPT, help="shares of the whole model's params")
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    help_ = "to the nearest point of the grids of least error, instead of quantization-aware"
    parser.add_argument("--nearest", dest="way", action="store_const", const=NEAREST, default=AWARE, help=help_)
    return parser.parse_args(list(arguments))


def _rows(plain: RunSpec, shares: Sequence[float], methods: Sequence[str]) -> Iterator[tuple[str, RunSpec]]:
    if "none" in methods:
        yield "dense", plain
    for kept in shares:
        for method in methods:
            if method != "none":
                spec = plain.changed(method=method, rule=RankRule("ratio", 1 / kept), calibrated=True,
                                     epc=method == "cp")  # fmt: skip
                yield f"{method}{' + epc' * (method == 'cp')} + calibrated, {kept:.0%} kept", spec


class _Bench:
    """Runs specs, neighbours sharing what they have opened and found."""

    def __init__(self, store: RunStore) -> None:
        self._store, self._session = store, Session()

    def __call__(self, spec: RunSpec) -> RunRecord:
        with progress_bars() as on_progress:
            record = run(spec, store=self._store, session=self._session, on_progress=on_progress).record
        if record.state != "complete":
            raise SystemExit(f"{spec.method} {spec.precision}: {record.reason}")
        return record


def _cell(record: RunRecord) -> str:
    """Top-1, drop with its interval, and bytes."""
    assert record.metrics
    drop, low, high = (100 * value for value in record.drop())
    return f"{100 * record.metrics.top1:.2f}, {drop:.2f} [{low:.2f}, {high:.2f}], {record.metrics.bytes / 1000:.0f} kB"


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
