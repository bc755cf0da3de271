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
from benchmarks.peers.making import Made, made
from benchmarks.peers.page import PAGE, Measured, keep
from benchmarks.peers.racing import rows
from benchmarks.peers.ways import WAYS
from tdq_core.system import machine


def main(arguments: Sequence[str] = ()) -> None:
    asked = _arguments(arguments)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(asked.keep or temporary)
        if asked.make_only:
            for network in asked.networks:
                _made(network, asked, folder / network)
            return
        keep(_measured(network, asked, folder / network) for network in asked.networks)
    print(f"Written: {PAGE}")


def _arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", default="cifar10-jpeg", help="as `tdq run --data` takes it")
    parser.add_argument("--networks", nargs="+", default=["resnet18_cifar10", "resnet20_cifar10"])
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--calib-samples", type=int, default=256)
    parser.add_argument("--ratio", type=float, default=2.0, help="of params, where a network is made smaller")
    parser.add_argument("--speed", type=float, default=2.5, help="of time, against dense INT8, where TDQ plans by it")
    parser.add_argument("--seconds", type=float, default=20.0, help="of the race of all files")
    names = [way.name for way in WAYS]
    parser.add_argument("--ways", nargs="+", default=names, choices=names)
    parser.add_argument("--make-only", action="store_true", help="with --keep: neither score nor time")
    parser.add_argument("--limit", type=float, default=1200.0, help="seconds that a way may take")
    parser.add_argument("--keep", help="a folder for the files")
    return parser.parse_args(list(arguments))


def _made(network: str, asked: argparse.Namespace, folder: Path) -> dict[Path, Made]:
    """By its folder what each way has left, in the order in which ways are asked for."""
    words = {"network": network, "data": asked.data, "samples": asked.samples, "calib_samples": asked.calib_samples,
             "ratio": asked.ratio, "speed": asked.speed}  # fmt: skip
    places, every = [way.name for way in WAYS], {}
    for name in asked.ways:
        at = folder / str(places.index(name))
        every[at] = found = made(name, words, at, limit=asked.limit)
        print(f"{network}, {name}: {found.reason or f'{found.seconds:.0f} s, {found.bytes:,} bytes'}", flush=True)
    return every


def _measured(network: str, asked: argparse.Namespace, folder: Path) -> Measured:
    found = _made(network, asked, folder)
    every, folders = list(found.values()), {each.way: at for at, each in found.items()}
    load, images = os.getloadavg()[0], tdq.images(asked.data, samples=asked.samples)
    return Measured(
        network=network, data=asked.data.partition(":")[0], ratio=asked.ratio, speed=asked.speed,
        calib=asked.calib_samples, machine=machine.describe(), load=load,
        rows=tuple(rows(every, folders, tdq.load(network), images.eval, asked.seconds)),
        time=datetime.now(UTC).isoformat(timespec="seconds"),
    )  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1:])
