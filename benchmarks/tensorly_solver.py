"""The solver 'tensorly' beside ours: error and seconds of every layer of ResNet-20 at ratio 2, by method, in one run.

The two take turns on a layer, `TURNS` times, and change who begins. Seconds are medians over the turns; times are the
median of the ratios within a turn. An error ratio below 1 says that ours is closer to the weight.
"""

from collections.abc import Callable
from functools import partial
from statistics import median

import tensorly
import torch

from benchmarks._side_by_side import Task, planned, timed
from tdq_core.compression.decompose import methods, tensorly_solver
from tdq_core.compression.decompose.factors import Factors, Options
from tdq_core.compression.decompose.linalg import rel_error
from tdq_core.system import machine

MODEL, RATIO = "resnet20_cifar10", 2.0
TURNS = 3
Solver = Callable[..., Factors]


def main() -> None:
    print(
        f"{machine.cpu_name()}, {torch.get_num_threads()} threads, torch {torch.__version__}, tensorly "
        f"{tensorly.__version__}; {MODEL} at ratio {RATIO:g}, {TURNS} turns"
    )
    for method in tensorly_solver.METHODS:
        tasks = planned(MODEL, method, ratio=RATIO)
        for solver in (methods.METHODS[method], tensorly_solver.METHODS[method]):
            solver(tasks[0].weight, tasks[0].ranks, Options())  # what is only slow once
        print(
            f"\n{method:<16}{'shape':>12}{'ranks':>10}{'ours':>10}{'tensorly':>10}{'ratio':>9}{'s':>9}{'s':>9}{'times':>7}"
        )
        report([compare(method, task) for task in tasks])


def compare(method: str, task: Task) -> tuple[float, float, float, float, float]:
    """Error of ours and of tensorly's, seconds of both, and how many times ours is faster; prints them as a row."""
    sides: tuple[Solver, Solver] = (methods.METHODS[method], tensorly_solver.METHODS[method])
    works = [partial(side, task.weight, task.ranks, Options()) for side in sides]
    seconds: tuple[list[float], list[float]] = ([], [])
    errors = [0.0, 0.0]
    for turn in range(TURNS):
        for side in (0, 1) if turn % 2 == 0 else (1, 0):
            taken, made = timed(works[side])
            seconds[side].append(taken)
            errors[side] = rel_error(task.weight, made.to_weight())
    ours, theirs = map(median, seconds)
    times = median(b / a for a, b in zip(*seconds, strict=True))
    shape, ranks = "x".join(map(str, task.weight.shape)), ",".join(map(str, task.ranks))
    print(
        f"{task.name:<16}{shape:>12}{ranks:>10}{errors[0]:>10.5f}{errors[1]:>10.5f}{errors[0] / errors[1]:>9.5f}"
        f"{ours:>9.4f}{theirs:>9.4f}{times:>7.2f}",
        flush=True,
    )
    return errors[0], errors[1], ours, theirs, times


def report(rows: list[tuple[float, float, float, float, float]]) -> None:
    ratios = [row[0] / row[1] for row in rows]
    times = [row[4] for row in rows]
    ours, theirs = (sum(row[at] for row in rows) for at in (2, 3))
    print(
        f"{len(rows)} layers: error ours / tensorly's {min(ratios):.5f} to {max(ratios):.5f}, median "
        f"{median(ratios):.5f}; {ours:.2f} s and {theirs:.2f} s, ours {min(times):.1f} to {max(times):.1f} times "
        f"faster, median {median(times):.1f}"
    )


if __name__ == "__main__":
    main()
