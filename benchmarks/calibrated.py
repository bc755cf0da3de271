"""Factors by the weights alone, batch norms re-estimated, and fitted to outputs: top-1 by method and share kept.

    python -m benchmarks.calibrated --model resnet20_cifar10 --weights FILE --data folder:TEST --calib folder:CALIB

Without arguments the embedded model. Every cell is an ordinary run: it is kept in the run store, and a second call
reads it there. `--ablation` leaves one ingredient out at a time instead.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from tdq_core.cli.terminal import progress_bars
from tdq_core.pipeline.run import run
from tdq_core.records.record import RunRecord
from tdq_core.records.store import RunStore
from tdq_core.specs import RankRule, RunSpec

KEPT = (0.8, 0.6, 0.4)
INT8 = {"precision": "int8", "backend": "onnxruntime"}
METHODS = {"tucker2": {}, "svd": {}, "cp": {"epc": True}}
ABLATED = 0.6, 0.4


def main(arguments: Sequence[str] = ()) -> None:
    options = _options(arguments)
    plain = RunSpec.of(
        options.model, options.data, calib=options.calib, weights=options.weights, samples=options.samples,
        calib_samples=options.calib_samples,
    )  # fmt: skip
    store = RunStore(options.runs) if options.runs else RunStore()
    if options.ablation:
        _ablation(store, plain)
    else:
        _table(store, plain, options.methods, options.kept)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calibrated", description=__doc__)
    parser.add_argument("--model", default="digits_resnet")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--calib")
    parser.add_argument("--weights")
    parser.add_argument("--samples", type=int)
    parser.add_argument("--calib-samples", type=int, default=512)
    parser.add_argument("--runs", type=Path, help="where the runs are kept")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--kept", nargs="+", type=float, default=KEPT, help="shares of the whole model's params")
    parser.add_argument("--ablation", action="store_true", help="one ingredient off at a time")
    return parser.parse_args(list(arguments))


def _table(store: RunStore, plain: RunSpec, methods: Sequence[str], shares: Sequence[float]) -> None:
    base = _measured(store, plain)
    assert base.metrics
    print(f"{plain.model}, dense {100 * base.metrics.top1:.2f} %, {base.metrics.n} images; top-1, drop in points")
    heads = ("method", "kept", "weights only", "+ batch norms", "calibrated", "calibrated, least error", "... and INT8")
    print(f"\n| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for method in methods:
        for kept in shares:
            spec = plain.changed(method=method, rule=RankRule("ratio", 1 / kept), **METHODS[method])
            best = spec.changed(calibrated=True)
            shared = None if method == "cp" else best.changed(rule=RankRule("ratio", 1 / kept, policy="global"))
            specs = [spec, spec.changed(reestimate_bn=True), best, shared, (shared or best).changed(**INT8)]
            cells = [_cell(_measured(store, s)) if s else "" for s in specs]
            print(f"| {method}{' + epc' * spec.epc} | {kept:.0%} | {' | '.join(cells)} |", flush=True)


def _ablation(store: RunStore, plain: RunSpec) -> None:
    heads = ("", *(f"{kept:.0%} kept" for kept in ABLATED), *(f"{kept:.0%} kept, INT8" for kept in ABLATED))
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for name, changes in _variants():
        cells = []
        for precision in ({}, INT8):
            for kept in ABLATED:
                policy = str(changes.get("policy", "uniform"))
                fields = {k: v for k, v in changes.items() if k != "policy"} | precision
                rule = RankRule("ratio", 1 / kept, policy=policy)
                cells.append(_cell(_measured(store, plain.changed(rule=rule, **fields))))
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def _variants() -> list[tuple[str, dict[str, object]]]:
    tucker = {"method": "tucker2", "calibrated": True, "policy": "global"}
    cp = {"method": "cp", "epc": True, "calibrated": True}
    return [
        ("Tucker-2, everything", tucker),
        ("... ranks of the same share", tucker | {"policy": "uniform"}),
        ("... inputs of the original network", tucker | {"symmetric": True}),
        ("... the same, batch norms re-estimated", tucker | {"symmetric": True, "reestimate_bn": True}),
        ("... not fitted to outputs", tucker | {"calibrated": False}),
        ("... not fitted, ranks of the same share", tucker | {"calibrated": False, "policy": "uniform"}),
        ("... not fitted, batch norms re-estimated", tucker | {"calibrated": False, "reestimate_bn": True}),
        ("CP, everything", cp),
        ("... without EPC", cp | {"epc": False}),
        ("... inputs of the original network", cp | {"symmetric": True}),
        ("... not fitted to outputs", cp | {"calibrated": False}),
        ("... not fitted, batch norms re-estimated", cp | {"calibrated": False, "reestimate_bn": True}),
    ]


def _measured(store: RunStore, spec: RunSpec) -> RunRecord:
    with progress_bars() as on_progress:
        record = run(spec, store=store, on_progress=on_progress).record
    if record.state != "complete":
        raise SystemExit(f"{spec.method} {spec.rule}: {record.reason}")
    return record


def _cell(record: RunRecord) -> str:
    assert record.metrics
    drop, low, high = (100 * value for value in record.drop())
    return f"{100 * record.metrics.top1:.2f}, {drop:.2f} [{low:.2f}, {high:.2f}]"


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
