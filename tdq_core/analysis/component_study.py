"""Computes a study of components: one model decomposed by CP in three ways, and what INT8 would find in each.

The decompositions and the conditioning are those that runs use; only their insides are looked at.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import Tensor, nn

from tdq_core.analysis.components import (
    STAGES,
    VARIANTS,
    Components,
    Inner,
    LayerComponents,
    Stage,
    Variant,
    read_study,
    study_folders,
    study_id,
    write_study,
)
from tdq_core.compression.condition.apply import condition
from tdq_core.compression.condition.observe import Observed, observe
from tdq_core.compression.decompose.linalg import rel_error
from tdq_core.compression.decompose.methods import Options
from tdq_core.compression.decompose.modules import apply_plan
from tdq_core.compression.decompose.spectra import with_weight_spectra
from tdq_core.compression.quantize.scheme import Scheme, scheme_of
from tdq_core.errors import InputError
from tdq_core.graph.layer_table import read_layers
from tdq_core.pipeline.inputs import Opened, open_run
from tdq_core.ranks.plan import LayerPlan, Plan, make_plan, needs_spectra
from tdq_core.specs import RunSpec
from tdq_core.system import machine
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


def study(
    spec: RunSpec,
    *,
    folders: Sequence[Path] | None = None,
    on_progress: Progress = silent,
    allowed_models: Collection[str] | None = None,
) -> Studied:
    """Compute the study of `spec` (see `components.study_spec`) and keep it, or return the one that is kept.

    Args:
        folders: where studies are looked for, and the first of them written to; None: `runs/` and `cached_runs/`.
        allowed_models: models that are not registered but may be loaded; None: any.

    Raises:
        InputError: the spec names no CP with EPC at int8, or something that does not exist.
        Refused: its ranks are out of reach.
    """
    if not spec.epc or not spec.conditioned:
        raise InputError("A study of components needs CP with EPC, conditioned for int8. Got another method.")
    folders = folders or study_folders()
    opened = open_run(spec, on_progress=on_progress, allowed_models=allowed_models)
    name = study_id(spec, opened.digests)
    for folder in folders:
        if (path := folder / f"{name}.json").exists():
            return Studied(read_study(path), reused=True)
    made = _computed(opened, name, on_progress)
    write_study(made, folders[0])
    return Studied(made, reused=False)


def _computed(opened: Opened, name: str, on_progress: Progress) -> Components:
    plan = _plan(opened, on_progress)
    scheme = scheme_of(opened.spec.precision, granularity=opened.spec.granularity)
    models = _variants(opened, plan, scheme, on_progress)
    names = [p.layer.name for p in plan.decomposed()]
    seen = {v: observe(m, names, opened.calibration, on_progress=on_progress) for v, m in models.items()}
    layers = []
    for planned in plan.decomposed():
        layer = planned.layer.name
        stages = {v: _stages(m.get_submodule(layer)) for v, m in models.items()}
        inside = {v: seen[v][layer] for v in VARIANTS}
        weight = opened.model.module.get_parameter(f"{layer}.weight").detach()
        layers.append(_layer(planned, weight, stages, inside, scheme))
    calib = opened.calib
    assert calib, "a conditioned run has calibration images"
    provenance = machine.describe() | {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "weights": opened.model.weights_source,
        "calib_split": calib.split,
        "calib_n": len(calib),
    }
    dense = [sum(getattr(p.layer, n) - getattr(p.cost, n) for p in plan.layers) for n in ("params", "macs")]
    return Components(
        name,
        opened.spec,
        {role: opened.digests[role] for role in ("model", "calib")},
        plan.params,
        plan.macs,
        plan.params + dense[0],
        plan.macs + dense[1],
        tuple(layers),
        opened.notes,
        provenance,
    )


def _plan(opened: Opened, on_progress: Progress) -> Plan:
    model, rule = opened.model, opened.spec.rule
    table = read_layers(model.module, opened.example()[:2], name=model.name, digest=model.digest)
    if needs_spectra(rule):
        table = with_weight_spectra(table, model.module, on_progress=on_progress)
    return make_plan(table, opened.spec.method, rule)


def _variants(opened: Opened, plan: Plan, scheme: Scheme, on_progress: Progress) -> dict[str, nn.Module]:
    spec, names = opened.spec, [p.layer.name for p in plan.decomposed()]
    plain, corrected = (
        apply_plan(opened.model.module, plan, options=Options(seed=spec.seed, eta=eta), on_progress=on_progress)[0]
        for eta in (None, spec.eta)
    )
    balanced, _ = condition(corrected, names, opened.calibration, scheme, on_progress=on_progress)
    return dict(zip(VARIANTS, (plain, corrected, balanced)))


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
        layer.name,
        layer.c_out,
        layer.c_in,
        layer.kernel,
        planned.ranks[0],
        planned.cost.params,
        planned.cost.macs,
        layer.params,
        layer.macs,
        tuple(bins.tolist()),
        variants,
    )


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
    norms = [torch.linalg.vector_norm(f, dim=d) for f, d in ((inward, 1), (kernel, 1), (outward, 0))]
    original = weight.double()
    rebuilt = torch.einsum("or,ri,rk->oik", outward, inward, kernel).reshape(original.shape)
    whole = float(torch.linalg.vector_norm(original)) or 1.0
    return Variant(
        _plain(norms[0] * norms[1] * norms[2] / whole),
        rel_error(original, rebuilt),
        {name: _stage(stages[name], 1 if name == "output" else 0, bins, scheme) for name in STAGES},
        {name: _inner(span.low, span.high, scheme) for name, span in zip(STAGES, observed.inner)},
    )


def _stage(weight: Tensor, component: int, bins: Tensor, scheme: Scheme) -> Stage:
    """`component`: the dimension of `weight` (channels out, channels in / groups, taps) along which components lie."""
    size = weight.abs()
    step = size.amax() / scheme.weight_limit
    steps = size.amax((1, 2)) / scheme.weight_limit
    logs = size[size > 0].log10()
    counts = torch.histogram(logs, bins)[0].round().int()
    return Stage(
        _plain(size.movedim(component, 0).flatten(1).amax(1)),
        tuple(counts.tolist()),
        size.numel() - int(counts.sum()),
        float(step),
        float(steps.median()),
        float((size < step / 2).double().mean()),
        float((size < steps[:, None, None] / 2).double().mean()),
    )


def _inner(low: Tensor, high: Tensor, scheme: Scheme) -> Inner:
    levels = scheme.activation_levels
    assert levels, "int8 rounds activations"
    return Inner(_plain(low), _plain(high), float(high.amax() - low.amin()) / levels)


def _plain(values: Tensor) -> tuple[float, ...]:
    return tuple(values.tolist())
