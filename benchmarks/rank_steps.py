"""Why ranks are best multiples of 4, 8 or 16: what ONNX Runtime takes for parts of a factorised layer, rank by rank.

    python -m benchmarks.rank_steps [--channels 64] [--size 16]

Microseconds on one thread, in int8 and fp32, of a 1x1 convolution into and out of so many channels, and of a depthwise
3x3 one on them.
"""

import argparse
from collections.abc import Callable

import numpy as np
import torch

from tdq_core.cli.terminal import say, say_table
from tdq_core.pipeline.speed.operation_file import name_of, write
from tdq_core.pipeline.speed.profile import Profiled, profile
from tdq_core.pipeline.speed.stages import Operation
from tdq_core.system.leftovers import temporary_folder

RANKS = (15, 16, 17, 20, 24, 31, 32, 33, 36, 40, 47, 48)
PASSES = 60


def parts(channels: int, size: int) -> dict[str, Callable[[int], Operation]]:
    place = (size, size)
    return {
        f"1x1, {channels} to r": lambda r: Operation(1, channels, r, place, place, (1, 1)),
        "depthwise 3x3 on r": lambda r: Operation(1, r, r, place, place, (3, 3), groups=r),
        f"1x1, r to {channels}": lambda r: Operation(1, r, channels, place, place, (1, 1)),
        f"3x3, {channels} to r": lambda r: Operation(1, channels, r, place, place, (3, 3)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rank_steps", description=__doc__.splitlines()[0])
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--size", type=int, default=16)
    asked = parser.parse_args()
    rows = []
    with temporary_folder() as folder:
        for integers in (True, False):
            fed = torch.ones(1, dtype=torch.uint8 if integers else torch.float32)
            for what, part in parts(asked.channels, asked.size).items():
                write([part(rank) for rank in RANKS], folder / "ranks.onnx", integers=integers)
                names = [name_of(place) for place in range(len(RANKS))]
                spent = profile([Profiled(folder / "ranks.onnx", names)], fed, passes=PASSES)[0].layers
                rows.append((what, "int8" if integers else "fp32",
                             *(f"{1e3 * np.median(spent[name]):.0f}" for name in names)))  # fmt: skip
    heads = ("part", "numbers", *(f"r = {rank}" for rank in RANKS))
    say_table(heads, rows, right=heads[2:])
    say(f"Microseconds, {asked.size} x {asked.size} places, median of {PASSES} passes.")


if __name__ == "__main__":
    main()
