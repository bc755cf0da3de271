"""Ranks and bits chosen together against every single number of bits, at equal bytes of the packed file.

    python -m benchmarks.bits_and_ranks --model resnet20_cifar10 --weights FILE --data cifar10-jpeg:ROOT --ratios 12 18

Without arguments the embedded model. Every cell is an ordinary run: it is kept in the run store, and a second call
reads it there. Drops are against dense fp32, and what the choice regains against the best single number of bits, on the
same images, paired, with 95 % intervals.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from tdq_core.pipeline.run import run
from tdq_core.pipeline.session import Session
from tdq_core.records.record import RunRecord
from tdq_core.records.store import RunStore
from tdq_core.specs import RankRule, RunSpec

SINGLE = ("w8a8", "w4a8", "w3a8")


def main(arguments: Sequence[str] = ()) -> None:
    options = _options(arguments)
    plain = RunSpec.of(
        options.model, options.data, calib=options.calib, weights=options.weights, samples=options.samples,
        calib_samples=options.calib_samples,
    )  # fmt: skip
    store, session = RunStore(options.runs) if options.runs else RunStore(), Session()
    way = {"method": options.method, "calibrated": True, "quantization_aware": not options.nearest}
    print("| bytes, fp32 / this | bits | top-1 | drop from dense fp32 | kB |\n|---|---|---|---|---|", flush=True)
    for ratio in options.ratios:
        rule = RankRule("ratio", ratio, budget="bytes", policy="global")
        singles = []
        for precision in options.single:
            record = run(plain.changed(rule=rule, precision=precision, **way), store=store, session=session).record
            print(f"| {ratio:g} | {precision} | {_cell(record)} |", flush=True)
            if record.metrics:
                singles.append(record)
        together = plain.changed(rule=rule, precision="w8a8", bits="auto", **way)
        chosen = run(together, store=store, session=session).record
        print(f"| {ratio:g} | auto: {_bits(chosen)} | {_cell(chosen)} |", flush=True)
        if singles and chosen.metrics:
            best = max(singles, key=lambda record: record.metrics.top1 if record.metrics else 0.0)
            assert best.metrics
            gain, low, high = (-100 * each for each in chosen.metrics.drop_from(best.metrics))
            print(f"\nauto less the best single ({best.spec.precision.name}): {gain:+.2f} [{high:+.2f}, {low:+.2f}]\n")


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bits_and_ranks", description=__doc__)
    parser.add_argument("--model", default="digits_resnet")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--calib")
    parser.add_argument("--weights")
    parser.add_argument("--samples", type=int)
    parser.add_argument("--calib-samples", type=int, default=512)
    parser.add_argument("--method", default="tucker2", choices=("tucker2", "svd", "auto"))
    parser.add_argument("--single", nargs="+", default=SINGLE, help="precisions to compare with, of 8-bit activations")
    parser.add_argument("--ratios", nargs="+", type=float, default=(10.0, 14.0))
    parser.add_argument("--nearest", action="store_true", help="to the nearest point, not quantization-aware")
    parser.add_argument("--runs", type=Path, help="where the runs are kept")
    return parser.parse_args(list(arguments))


def _cell(record: RunRecord) -> str:
    """Top-1, drop with its interval, and bytes; why there is none."""
    if record.metrics is None:
        return f"{record.state}: {record.reason} | | "
    drop, low, high = (100 * value for value in record.drop())
    return f"{100 * record.metrics.top1:.2f} | {drop:.2f} [{low:.2f}, {high:.2f}] | {record.metrics.bytes / 1000:.1f}"


def _bits(record: RunRecord) -> str:
    """How many layers have how many bits, and how many of them are decomposed."""
    bits = [layer.detail.get("bits") for layer in record.layers]
    made = sum(layer.method != "none" for layer in record.layers)
    return ", ".join(f"{bits.count(b)} of {b}" for b in (8, 6, 4, 3) if b in bits) + f"; {made} decomposed"


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
