"""Every format of export, there and back: what was measured is what a new process answers.

    python -m benchmarks.round_trip                                             # digits, and a module of one's own
    python -m benchmarks.round_trip --data cifar10-jpeg:FOLDER --networks resnet20_cifar10 googlenet_cifar10

Runs are measured, exported, and each file is loaded in a process of its own: ONNX and .pt2 without this project on its
path. Registered networks by their top-1 and every answer; torchvision's mobilenet_v2 with random weights, brought as a
module, by its logits.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

import tdq_core as tdq
from tdq_core.errors import TDQError
from tdq_core.pipeline.exports.export import Exported, export_run
from tdq_core.pipeline.exports.verify import verify
from tdq_core.pipeline.run import run
from tdq_core.pipeline.session import Session
from tdq_core.records.store import RunStore
from tdq_core.specs import RankRule, RunSpec
from tdq_core.specs.formats import FORMATS, formats_of
from tdq_core.specs.precision import PRECISIONS
from tdq_core.system.torchvision_compat import torchvision

IN_HAND = "mobilenet_v2"
NUMBERS = ("fp32", "fp16", "int8", "w4a8")
COLUMNS = f"{'network':<20}{'numbers':<9}{'format':<13}{'bytes':>11}  {'top-1':>8}  {'changed':>7}"
HEADER = f"{COLUMNS}  {'logits apart':>12}  s"


def main(arguments: Sequence[str] = ()) -> None:
    asked = _arguments(arguments)
    print(HEADER)
    with tempfile.TemporaryDirectory() as folder:
        for name in asked.networks:
            if name == IN_HAND:
                _in_hand(asked.numbers, Path(folder) / name)
            else:
                _measured(name, asked, Path(folder) / name)


def _arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.round_trip", description=__doc__)
    parser.add_argument("--data", default="digits", help="as `tdq run --data` takes it")
    parser.add_argument("--weights", nargs="+", default=(), metavar="NAME=FILE", help="in place of registered ones")
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--networks", nargs="+", default=["digits_resnet", IN_HAND])
    parser.add_argument("--numbers", nargs="+", default=NUMBERS, choices=PRECISIONS)
    return parser.parse_args(list(arguments))


def _measured(name: str, asked: argparse.Namespace, folder: Path) -> None:
    """A registered network at a ratio of two, in every precision and format."""
    store, session = RunStore(folder / "runs"), Session()
    weights = dict(each.split("=", 1) for each in asked.weights).get(name)
    for precision in asked.numbers:
        spec = RunSpec.of(name, asked.data, weights=weights, samples=asked.samples, calib_samples=128, method="tucker2",
                          rule=RankRule("ratio", 2.0), precision=precision)  # fmt: skip
        for format in formats_of(spec):
            start = time.perf_counter()
            try:
                record = run(spec.changed(backend=format.backend), store=store, session=session).record
                done = export_run(record, record.spec, format.name, folder / precision / format.name, store=store,
                                  session=session)  # fmt: skip
                _print(name, precision, format.name, done, start)
            except TDQError as error:
                print(f"{name:<20}{precision:<9}{format.name:<13}{error}", flush=True)


def _in_hand(numbers: Sequence[str], folder: Path) -> None:
    """A module of one's own: no name builds it, and its accuracy is chance."""
    torch.manual_seed(0)
    module = torchvision.models.mobilenet_v2(weights=None)
    noise = torch.Generator().manual_seed(1)
    for _ in range(20):  # norms that know what flows: as it is made, 50 layers leave 1e-11 of it, which no half holds
        module(torch.rand(8, 3, 224, 224, generator=noise))
    net = tdq.wrap(module, size=224, name=IN_HAND)
    tight = tdq.compress(net, tdq.plan(net, "svd", ratio=1.5))
    calib = tdq.images(torch.rand(8, 3, 224, 224, generator=noise)).eval
    for precision in numbers:
        for format in FORMATS.values():
            if PRECISIONS[precision].kind not in format.kinds or (precision, format.name) == ("fp16", "pt2"):
                continue  # halves as a program are those of a run, see `_measured`
            start, to = time.perf_counter(), folder / precision / format.name
            try:
                if precision == "fp32":
                    done = tdq.export(tight, to, format=format.name)
                else:
                    file = tdq.quantize(tight, precision, backend=format.backend, calib=calib, condition=False,
                                        to=folder / f"{precision}-{format.backend}")  # fmt: skip
                    done = tdq.export(file, to, format=format.name)
                _print(IN_HAND, precision, format.name, done, start, module if format.rebuilt else None)
            except TDQError as error:
                print(f"{IN_HAND:<20}{precision:<9}{format.name:<13}{error}", flush=True)


def _print(
    name: str, precision: str, format: str, done: Exported, start: float, module: nn.Module | None = None
) -> None:
    told, found = done.told, verify(done.folder, model=module)
    top1 = f"{100 * told.images.score()[0]:.2f} %" if told.images else "-"
    changed = "-" if found.changed is None else found.changed
    apart = f"{found.logits_apart:.1e}"
    seconds = time.perf_counter() - start
    print(f"{name:<20}{precision:<9}{format:<13}{told.bytes:>11,}  {top1:>8}  {changed:>7}  {apart:>12}  {seconds:.0f}",
          flush=True)  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1:])
