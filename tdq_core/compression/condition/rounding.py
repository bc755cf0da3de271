"""What rounding the factors does to a decomposed layer's kernel, before any image is seen."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import nn

from tdq_core.compression.condition.chain import Chain, sequential
from tdq_core.compression.decompose.factors import Details
from tdq_core.compression.quantize.scheme import Scheme

FAILING = 0.05
"""Above this rounding error (root mean square over the layers) a run is predicted to lose more than a point to its
integers; `python -m benchmarks cp_int8` counts how often that is right."""


class RoundingError(Details, frozen=True):
    """Relative error of the kernel by rounding alone, before conditioning."""

    rounding_error: float


def rounded(chain: Chain, scheme: Scheme) -> Chain:
    """The chain with its weights rounded as `scheme` rounds them, min-max, after the batch norm was folded in."""
    stages = []
    for j, stage in enumerate(chain.stages):
        folded = chain.gain.abs().clamp_min(1e-30) if j == len(chain.stages) - 1 else torch.ones(len(stage)).double()
        weights = stage * folded[:, None, None]
        largest = weights.abs().amax((1, 2), keepdim=True)
        largest = largest.amax() if scheme.granularity == "tensor" else largest
        scale = (largest / scheme.weight_limit).clamp_min(1e-30)
        stages.append((weights / scale).round() * scale / folded[:, None, None])
    return replace(chain, stages=tuple(stages))


def rounding_error(chain: Chain, scheme: Scheme) -> float:
    """|rounded kernel - kernel| / |kernel|, the factors multiplied out; 0 where the kernel is 0."""
    kernel = chain.merged()
    norm = float(torch.linalg.vector_norm(kernel))
    return float(torch.linalg.vector_norm(rounded(chain, scheme).merged() - kernel)) / norm if norm else 0.0


def rounding_errors(
    model: nn.Module, names: Sequence[str], scheme: Scheme, bits: Mapping[str, int] | None = None
) -> dict[str, float]:
    """The rounding error of each of the decomposed layers `names`; `bits`: of weights with others than `scheme`."""
    own = {name: scheme.with_weights_of((bits or {}).get(name)) for name in names}
    return {name: rounding_error(Chain.of(sequential(model, name)), own[name]) for name in names}


def predicted_failure(errors: dict[str, float]) -> str | None:
    """A warning where rounding is predicted to cost more than a point of top-1; None where it is not."""
    mean = (sum(e**2 for e in errors.values()) / max(len(errors), 1)) ** 0.5
    if mean <= FAILING:
        return None
    worst = max(errors, key=errors.__getitem__)
    return (
        "Predicted from the weights alone, before conditioning and before any image: integers are likely to cost more "
        "than a point of top-1, for rounding the factors "
        f"changes the decomposed kernels by {100 * mean:.2g} % (root mean square over {len(errors)} layers; most in "
        f"'{worst}', {100 * errors[worst]:.2g} %), above {100 * FAILING:g} %. CP with EPC, more bits or a scale per "
        "channel lower that."
    )
