"""From a plan to a compressed model in a file: decompose -> fine-tune -> condition -> quantize and export."""

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from tdq_core.compression.calibrate.layer_by_layer import apply_calibrated
from tdq_core.compression.calibrate.symmetric import apply_symmetric
from tdq_core.compression.condition.apply import balance, condition
from tdq_core.compression.condition.batch_norm import reestimate_batch_norms
from tdq_core.compression.condition.rounding import predicted_failure, rounding_errors
from tdq_core.compression.decompose.methods import Options
from tdq_core.compression.decompose.modules import apply_plan
from tdq_core.compression.finetune.distil import distil
from tdq_core.compression.quantize import Artefact, Request, realise
from tdq_core.compression.quantize.scheme import Scheme
from tdq_core.errors import RunFailed
from tdq_core.graph.layer_table import count_macs, count_params
from tdq_core.pipeline.inputs import Opened
from tdq_core.ranks.plan import Plan
from tdq_core.records.record import LayerRecord
from tdq_core.records.store import runs_folder
from tdq_core.system.memo import Latest
from tdq_core.system.progress import Progress

Layers = tuple[LayerRecord, ...]

_DECOMPOSED: Latest[tuple[nn.Module, Layers]] = Latest()
_CONDITIONED: Latest[tuple[nn.Module, Layers]] = Latest()


@dataclass
class Clock:
    """Seconds spent by stage."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - start, 3)


@dataclass(frozen=True)
class Built:
    """The compressed model as a real artefact, its costs as counted on it, and what was done to each layer.

    Attributes:
        tuning: what fine-tuning tells of itself; empty where there was none.
    """

    artefact: Artefact
    params: int
    macs: int
    layers: Layers
    warnings: tuple[str, ...]
    tuning: Mapping[str, Any]


def build(opened: Opened, plan: Plan, folder: Path, clock: Clock, on_progress: Progress) -> Built:
    """The model of `opened` compressed by `plan`, as a file in `folder`; raises as `apply_plan` and `realise` do."""
    spec = opened.spec
    example = opened.example()
    folder.mkdir(parents=True, exist_ok=True)
    options = Options(seed=spec.seed, eta=spec.eta if spec.epc else None)
    origin = _origin(opened, plan, options)
    with clock.stage("decompose"):
        module, layers = _DECOMPOSED.get(origin, lambda: _decompose(opened, plan, options, on_progress))
    calibration = opened.calibration if opened.calib else None
    request = Request(example=example, calibration=calibration, folder=folder, on_progress=on_progress,
                      granularity=spec.granularity, ranges=spec.ranges)  # fmt: skip
    tuning: Mapping[str, Any] = {}
    if spec.finetune:
        with clock.stage("condition"):
            module, layers = _readied(opened, module, layers, request)
        with clock.stage("fine-tune"):
            module, tuning = _fine_tuned(opened, module, request)
    warnings: tuple[str, ...] = ()
    with clock.stage("condition"):
        if spec.quantized:
            layers, warnings = _forecast(module, layers, request.scheme(spec.precision))
        if not spec.finetune:
            way = (origin, opened.digests.get("calib"), spec.reestimate_bn, spec.conditioned, _scheme(opened, request))
            start = module, layers
            module, layers = _CONDITIONED.get(way, lambda: _conditioned(opened, *start, request))
    params, macs = _counted(plan, module, example[:2])
    with clock.stage("quantize and export"):
        artefact = realise(module, spec.precision, spec.backend, request=request)
    return Built(artefact, params, macs, layers, warnings, tuning)


def _origin(opened: Opened, plan: Plan, options: Options) -> tuple[object, ...]:
    """What the factors follow from: they are found once for all precisions that are measured one after the other."""
    spec = opened.spec
    images = (opened.digests.get("calib"), spec.symmetric) if spec.calibrated else None
    parts = tuple((p.layer.name, p.method, p.ranks) for p in plan.layers)
    return opened.digests["model"], parts, options, images


def _scheme(opened: Opened, request: Request) -> Scheme | None:
    return request.scheme(opened.spec.precision) if opened.spec.quantized else None


def _decompose(opened: Opened, plan: Plan, options: Options, on_progress: Progress) -> tuple[nn.Module, Layers]:
    """By the weights alone, or fitted to outputs on the calibration images."""
    dense = opened.model.module
    if opened.spec.symmetric:
        assert opened.calib is not None, "opened with the run"
        return apply_symmetric(dense, plan, opened.calibration, len(opened.calib), options=options,
                               folder=opened.sums_folder, on_progress=on_progress)  # fmt: skip
    if opened.spec.calibrated:
        return apply_calibrated(dense, plan, opened.calibration, options=options, on_progress=on_progress)
    return apply_plan(dense, plan, options=options, on_progress=on_progress)


def _fine_tuned(opened: Opened, module: nn.Module, request: Request) -> tuple[nn.Module, Mapping[str, Any]]:
    """Distilled from the dense model, the rounding to come in the loop; a run that was killed goes on where it was."""
    spec = opened.spec
    return distil(
        module,
        opened.model.module,
        opened.calibration,
        steps=spec.finetune,
        seed=spec.seed,
        scheme=request.scheme(spec.precision) if spec.quantized else None,
        on_progress=request.on_progress,
        checkpoint=runs_folder() / "finetune" / f"{opened.run_id}.pt",
    )


def _forecast(module: nn.Module, layers: Layers, scheme: Scheme) -> tuple[Layers, tuple[str, ...]]:
    """What rounding does to each decomposed kernel, and a warning where that is too much."""
    errors = rounding_errors(module, _decomposed(layers), scheme)
    warning = predicted_failure(errors)
    told = {name: {"rounding_error": error} for name, error in errors.items()}
    return _with_details(layers, told), (warning,) if warning else ()


def _readied(opened: Opened, module: nn.Module, layers: Layers, request: Request) -> tuple[nn.Module, Layers]:
    """Before fine-tuning: batch norms re-estimated and layers balanced, where the spec says so. What is then trained
    for a grid stays on it: nothing is conditioned afterwards, biases and batch norms find themselves."""
    spec = opened.spec
    module = _reestimated(opened, module, request)
    if not spec.conditioned:
        return module, layers
    scheme = request.scheme(spec.precision)
    module, told = balance(module, _decomposed(layers), opened.calibration, scheme, on_progress=request.on_progress)
    details = {n: {k: v for k, v in detail.items() if k != "batch_norm"} for n, detail in told.items()}
    return module, _with_details(layers, {n: d | {"bias_corrected_in": "fine-tuning"} for n, d in details.items()})


def _conditioned(opened: Opened, module: nn.Module, layers: Layers, request: Request) -> tuple[nn.Module, Layers]:
    """Without fine-tuning: batch norms re-estimated and layers conditioned, where the spec says so."""
    spec = opened.spec
    module = _reestimated(opened, module, request)
    if not spec.conditioned:
        return module, layers
    scheme = request.scheme(spec.precision)
    module, told = condition(module, _decomposed(layers), opened.calibration, scheme, on_progress=request.on_progress)
    return module, _with_details(layers, told)


def _reestimated(opened: Opened, module: nn.Module, request: Request) -> nn.Module:
    if not opened.spec.reestimate_bn:
        return module
    return reestimate_batch_norms(module, opened.calibration, on_progress=request.on_progress)


def _decomposed(layers: Layers) -> list[str]:
    return [layer.name for layer in layers if layer.method != "none"]


def _with_details(layers: Layers, told: Mapping[str, Mapping[str, Any]]) -> Layers:
    return tuple(dataclasses.replace(la, detail={**la.detail, **told.get(la.name, {})}) for la in layers)


def _counted(plan: Plan, module: nn.Module, example: Tensor) -> tuple[int, int]:
    """Params and MACs counted on the built model, which must be those that were planned by arithmetic."""
    counted = (count_params(module), count_macs(module, example))
    if counted != (plan.params, plan.macs):
        raise RunFailed(
            f"The built model has {counted[0]} params and {counted[1]} MACs, planned were {plan.params} and "
            f"{plan.macs}: please report this, its numbers would be wrong."
        )
    return counted
