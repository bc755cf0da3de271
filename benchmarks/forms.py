"""Which form loses least at the same params, MACs or time: Tucker-2, SVD, spatial, and the best of them layer by layer.

    python -m benchmarks.forms --data cifar10-jpeg:FOLDER [--model NAME] [--budgets params=2 macs=2 latency=1.5]

In INT8 through ONNX Runtime, ranks of least predicted drop (the network's sensitivities must be there), factors of
weights and fitted to outputs, first and last layer dense. Layers are timed first where time is a budget and they were
not. Prints the drop with its 95 % interval, and what each run counts in all three.
"""

import argparse
from collections.abc import Iterator, Sequence

import tdq_core as tdq
from tdq_core.cli.terminal import say, say_table
from tdq_core.errors import TDQError
from tdq_core.pipeline.layer_times import measure
from tdq_core.pipeline.session import Session
from tdq_core.prediction.layer_times import LayerTimes, of_record
from tdq_core.records.record import RunRecord
from tdq_core.specs import RankRule, RunSpec

METHODS = ("tucker2", "svd", "spatial", "mixed")


def specs(plain: RunSpec, budgets: Sequence[str], policy: str) -> Iterator[tuple[str, str, RunSpec]]:
    """(budget, what is fitted to, run)."""
    for budget, _, ratio in (each.partition("=") for each in budgets):
        for calibrated in (False, True):
            for method in METHODS:
                rule = RankRule("ratio", float(ratio), policy=policy, budget=budget)
                fit = "outputs" if calibrated else "weights"
                yield f"{budget} / {ratio}", fit, plain.changed(method=method, rule=rule, calibrated=calibrated)


def row(budget: str, fit: str, record: RunRecord, times: LayerTimes | None) -> tuple[str, ...]:
    method = record.spec.method
    if record.metrics is None or record.baseline is None:
        return budget, fit, method, record.reason or record.state, "", "", ""
    drop, low, high = (100 * x for x in record.drop())
    ns = of_record(times, record) if times else None
    return (
        budget, fit, method, f"{drop:+.1f} [{low:+.1f}, {high:+.1f}]", f"{record.metrics.compression_ratio:.2f}",
        f"{record.baseline.macs / record.metrics.macs:.2f}", f"{times.dense_ns / ns:.2f}" if times and ns else "",
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.forms", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="resnet20_cifar10")
    parser.add_argument("--data", default="cifar10-jpeg")
    parser.add_argument("--budgets", nargs="+", default=["params=2", "macs=2"])
    parser.add_argument("--policy", default="predicted")
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--calib-samples", type=int, default=512)
    asked = parser.parse_args()
    plain = RunSpec.of(asked.model, asked.data, samples=asked.samples, calib_samples=asked.calib_samples,
                       precision="int8", backend="onnxruntime")  # fmt: skip
    timed = any(each.startswith("latency") for each in asked.budgets)
    times, session, rows = measure(plain).times if timed else None, Session(), []
    for budget, fit, spec in specs(plain, asked.budgets, asked.policy):
        try:
            record = tdq.run(spec, session=session).record
        except TDQError as error:
            say(f"{budget}, {fit}, {spec.method}: {error}")
            continue
        rows.append(row(budget, fit, record, times))
        say(", ".join(rows[-1]))
    say_table(("at", "fitted to", "method", "drop, points", "params /", "MACs /", "time /, told"), rows)


if __name__ == "__main__":
    main()
