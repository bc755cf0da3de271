"""What the benchmarks of decompositions share: a clock, and the layers that a plan takes."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from tdq_core.models.loading import load_model
from tdq_core.pipeline.run import read_table
from tdq_core.ranks.plan import make_plan
from tdq_core.specs import RankRule, RunSpec

T = TypeVar("T")


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """Seconds of `work`, and its result."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


@dataclass(frozen=True)
class Task:
    """One layer to decompose."""

    name: str
    weight: Tensor
    ranks: tuple[int, ...]


def planned(model: str, method: str, *, weights: str | None = None, ratio: float = 2.0) -> list[Task]:
    """Every layer that a plan of `ratio` decomposes, with its weight (C_out, C_in, K_h, K_w)."""
    spec = RunSpec.of(model, "digits", weights=weights, method=method, rule=RankRule("ratio", ratio))
    module = load_model(spec.model).module
    plan = make_plan(read_table(spec), method, spec.rule)
    tasks = []
    for part in plan.decomposed():
        weight = module.get_parameter(f"{part.layer.name}.weight").detach()
        tasks.append(Task(part.layer.name, weight if weight.dim() == 4 else weight[:, :, None, None], part.ranks))
    return tasks
