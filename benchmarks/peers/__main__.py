"""Peers on the same clock; writes docs/benchmarks.md.

    python -m benchmarks.peers --data cifar10-jpeg:FOLDER [--networks resnet18_cifar10 resnet20_cifar10]

Peers are an extra, for an environment of their own: `pip install -c constraints.txt torch torchvision`, then
`pip install -c constraints.txt -e '.[peers]'`. One that is not installed, or fails, is named on the page with the
reason. `--keep FOLDER` keeps the files, and makes none that is there: with them made, a second call only scores and
times, in minutes that can be kept quiet.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch

import tdq_core as tdq
from benchmarks.peers.making import made
from benchmarks.peers.page import PAGE, Measured, keep
from benchmarks.peers.racing import rows
from benchmarks.peers.ways import WAYS
from tdq_core.system import machine


def main(arguments: Sequence[str] = ()) -> None:
    asked = _arguments(arguments)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(asked.keep or temporary)
        keep(_measured(network, asked, folder / network) for network in asked.networks)
    print(f"Written: {PAGE}")


def _arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", default="cifar10-jpeg", help="as `tdq run --data` takes it")
    parser.add_argument("--networks", nargs="+", default=["resnet18_cifar10", "resnet20_cifar10"])
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--calib-samples", type=int, default=256)
    parser.add_argument("--ratio", type=float, default=2.0, help="of params, where a network is made smaller")
    parser.add_argument("--speed", type=float, default=2.0, help="of time, against dense INT8, where TDQ plans by it")
    parser.add_argument("--seconds", type=float, default=20.0, help="of the race of all files")
    parser.add_argument("--ways", nargs="+", default=[way.name for way in WAYS])
    parser.add_argument("--limit", type=float, default=1200.0, help="seconds that a way may take")
    parser.add_argument("--keep", help="a folder for the files")
    return parser.parse_args(list(arguments))


def _measured(network: str, asked: argparse.Namespace, folder: Path) -> Measured:
    words = {"network": network, "data": asked.data, "samples": asked.samples, "calib_samples": asked.calib_samples,
             "ratio": asked.ratio, "speed": asked.speed}  # fmt: skip
    every, folders = [], {}
    for place, way in enumerate(WAYS):
        if way.name not in asked.ways:
            continue
        folders[way.name] = folder / str(place)
        every.append(found := made(way.name, words, folders[way.name], limit=asked.limit))
        print(f"{network}, {way.name}: {found.reason or f'{found.seconds:.0f} s, {found.bytes:,} bytes'}", flush=True)
    load, images = os.getloadavg()[0], tdq.images(asked.data, samples=asked.samples)
    return Measured(
        network=network, data=asked.data.partition(":")[0], ratio=asked.ratio, speed=asked.speed,
        calib=asked.calib_samples, machine=machine.describe(), load=load,
        rows=tuple(rows(every, folders, tdq.load(network), images.eval, asked.seconds)),
        time=datetime.now(UTC).isoformat(timespec="seconds"),
    )  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1:])
