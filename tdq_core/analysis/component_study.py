"""Computes a study of components: one model decomposed by CP in three ways, and what INT8 would find in each.

The decompositions and the conditioning are those that runs use; only their insides are looked at.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import torch
from torch import Tensor, nn

from tdq_core.analysis.components import (
    STAGES,
    STUDIES,
    VARIANTS,
    Components,
    Inner,
    LayerComponents,
    Stage,
    Variant,
    study_id,
)
from tdq_core.compression.condition.apply import condition
from tdq_core.compression.condition.observe import Observed, observe
from tdq_core.compression.decompose.factors import Options
from tdq_core.compression.decompose.linalg import of_components, rel_error
from tdq_core.compression.decompose.modules import apply_plan
from tdq_core.compression.quantize.scheme import Scheme, scheme_of
from tdq_core.errors import InputError
from tdq_core.pipeline.inputs import RunInputs
from tdq_core.pipeline.session import open_run
from tdq_core.ranks.plan import LayerPlan, Plan, make_plan, needs_spectra
from tdq_core.records.store import Store
from tdq_core.specs import RunSpec
from tdq_core.system import machine
from tdq_core.system.containment import contained
from tdq_core.system.progress import Progress, silent

BIN = 0.125
"""Width of a bin of log10 |w|: eight a decade."""
DECADES = 7
"""Entries that are smaller than the largest one by more than this are counted together."""


@dataclass(frozen=True)
class Studied:
    """A study, and whether it was there already."""

    components: Components
    reused: bool


@contained()
def study(
    spec: RunSpec,
    *,
    store: Store[Components] | None = None,
    on_progress: Progress = silent,
    allowed_models: Collection[str] | None = None,
) -> Studied:
    """Compute the study of `spec` (see `components.study_spec`) and keep it, or return the one that is kept.

    Args:
        store: where studies are looked for and written; None: `runs/` and `cached_runs/`.
        allowed_models: models that are not registered but may be loaded; None: any.

    Raises:
        InputError: the spec names no CP with EPC at int8, or something that does not exist.
        Refused: its ranks are out of reach.
        NotKept: it is computed, and could not be written; the error holds it.
    """
    if not (spec.decomposition and spec.decomposition.epc and spec.conditioned):
        raise InputError("A study of components needs CP with EPC, conditioned for int8. Got another method.")
    store = store or Store(STUDIES)
    inputs = open_run(spec, on_progress=on_progress, allowed_models=allowed_models)
    name = study_id(spec, inputs.digests)
    if known := store.usable(name):
        return Studied(known, reused=True)
    store.require_writable()
    with store.alone(name, on_wait=lambda: on_progress("waiting: the same study is at work", 0, 0)):
        if known := store.usable(name):
            return Studied(known, reused=True)
        path = store.put(_computed(inputs, name, on_progress))
        return Studied(store.read(path), reused=False)  # what is given is what was written, rounded as that is


def _computed(inputs: RunInputs, name: str, on_progress: Progress) -> Components:
    plan = _plan(inputs, on_progress)
    scheme = scheme_of(inputs.spec.precision.numbers, granularity=inputs.spec.precision.granularity)
    models = _variants(inputs, plan, scheme, on_progress)
    names = [p.layer.name for p in plan.decomposed()]
    seen = {v: observe(m, names, inputs.calibration, on_progress=on_progress) for v, m in models.items()}
    layers = []
    for planned in plan.decomposed():
        layer = planned.layer.name
        stages = {v: _stages(m.get_submodule(layer)) for v, m in models.items()}
        inside = {v: seen[v][layer] for v in VARIANTS}
        weight = inputs.model.module.get_parameter(f"{layer}.weight").detach()
        layers.append(_layer(planned, weight, stages, inside, scheme))
    calib = inputs.calib
    assert calib, "a conditioned run has calibration images"
    provenance = machine.describe() | {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "weights": inputs.model.weights_source,
        "calib_split": calib.split,
        "calib_n": len(calib),
    }
    dense = [sum(getattr(p.layer, n) - getattr(p.cost, n) for p in plan.layers) for n in ("params", "macs")]
    return Components(
        study_id=name, spec=inputs.spec, digests={role: inputs.digests[role] for role in ("model", "calib")},
        params=plan.params, macs=plan.macs, dense_params=plan.params + dense[0], dense_macs=plan.macs + dense[1],
        layers=tuple(layers), notes=inputs.notes, provenance=provenance,
    )  # fmt: skip


def _plan(inputs: RunInputs, on_progress: Progress) -> Plan:
    rule = inputs.spec.rule
    table = inputs.table(spectra=needs_spectra(rule), on_progress=on_progress)
    return make_plan(table, inputs.spec.method, rule, inputs.spec.precision)


def _variants(inputs: RunInputs, plan: Plan, scheme: Scheme, on_progress: Progress) -> dict[str, nn.Module]:
    spec, names = inputs.spec, [p.layer.name for p in plan.decomposed()]
    assert spec.decomposition, "checked by `study`"
    plain, corrected = (
        apply_plan(inputs.model.module, plan, options=Options(seed=spec.seed, eta=eta), on_progress=on_progress)[0]
        for eta in (None, spec.decomposition.eta)
    )
    balanced, _ = condition(corrected, names, inputs.calibration, scheme, on_progress=on_progress)
    return dict(zip(VARIANTS, (plain, corrected, balanced), strict=True))


def _stages(module: nn.Module) -> dict[str, Tensor]:
    """The sub-layers' weights, (channels out, channels in / groups, taps), float64."""
    return {name: module.get_submodule(name).weight.detach().double().flatten(2) for name in STAGES}  # type: ignore[operator]


def _layer(
    planned: LayerPlan,
    weight: Tensor,
    stages: dict[str, dict[str, Tensor]],
    inside: dict[str, Observed],
    scheme: Scheme,
) -> LayerComponents:
    layer = planned.layer
    bins = _bins([w for variant in stages.values() for w in variant.values()])
    variants = {name: _variant(weight, stages[name], inside[name], bins, scheme) for name in stages}
    return LayerComponents(
        name=layer.name, c_out=layer.c_out, c_in=layer.c_in, kernel=layer.kernel,
        rank=layer.groups * planned.ranks[0], params=planned.cost.params, macs=planned.cost.macs,
        dense_params=layer.params, dense_macs=layer.macs, bins=tuple(bins.tolist()), variants=variants,
    )  # fmt: skip


def _bins(weights: Sequence[Tensor]) -> Tensor:
    """Edges of log10 |w| that hold the largest entry of all, `DECADES` down at most."""
    logs = torch.cat([w[w != 0].abs().log10() for w in weights])
    if not len(logs):
        return torch.tensor([0.0, BIN], dtype=torch.float64)
    top = math.floor(float(logs.max()) / BIN) + 1
    bottom = max(math.floor(float(logs.min()) / BIN), top - round(DECADES / BIN))
    return torch.arange(bottom, top + 1, dtype=torch.float64) * BIN


def _variant(weight: Tensor, stages: dict[str, Tensor], observed: Observed, bins: Tensor, scheme: Scheme) -> Variant:
    inward, kernel, outward = stages["input"][:, :, 0], stages["depthwise"][:, 0], stages["output"][:, :, 0]
    groups = len(kernel) // outward.shape[1]
    parts = list(zip(outward.chunk(groups), inward.chunk(groups), kernel.chunk(groups), strict=True))
    outer = torch.cat([torch.linalg.vector_norm(out, dim=0) for out, _, _ in parts])
    norms = [torch.linalg.vector_norm(inward, dim=1), torch.linalg.vector_norm(kernel, dim=1), outer]
    original = weight.double()
    rebuilt = torch.cat([of_components(out, in_.T, taps.T) for out, in_, taps in parts]).reshape(original.shape)
    largest = {name: stages[name].abs().amax((1, 2)) for name in STAGES}
    largest["output"] = torch.cat([out.abs().amax(0) for out, _, _ in parts])
    whole = float(torch.linalg.vector_norm(original)) or 1.0
    return Variant(
        norms=_plain(norms[0] * norms[1] * norms[2] / whole),
        rel_error=rel_error(original, rebuilt),
        stages={name: _stage(stages[name], largest[name], bins, scheme) for name in STAGES},
        inner={
            name: _inner(span.low, span.high, scheme)
            for name, span in zip(STAGES[:-1], observed.inner, strict=True)
        },
    )  # fmt: skip


def _stage(weight: Tensor, largest: Tensor, bins: Tensor, scheme: Scheme) -> Stage:
    """Of a sub-layer's `weight` (channels out, channels in / groups, taps), and its `largest` entry a component."""
    size = weight.abs()
    step = size.amax() / scheme.weight_limit
    steps = size.amax((1, 2)) / scheme.weight_limit
    logs = size[size > 0].log10()
    counts = torch.histogram(logs, bins)[0].round().int()
    return Stage(
        largest=_plain(largest),
        counts=tuple(counts.tolist()),
        below=size.numel() - int(counts.sum()),
        step=float(step),
        channel_step=float(steps.median()),
        zeros=float((size < step / 2).double().mean()),
        channel_zeros=float((size < steps[:, None, None] / 2).double().mean()),
    )


def _inner(low: Tensor, high: Tensor, scheme: Scheme) -> Inner:
    levels = scheme.activation_levels
    assert levels, "int8 rounds activations"
    return Inner(low=_plain(low), high=_plain(high), step=float(high.amax() - low.amin()) / levels)


def _plain(values: Tensor) -> tuple[float, ...]:
    return tuple(values.tolist())
