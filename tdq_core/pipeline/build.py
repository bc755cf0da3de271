"""From a plan to a compressed model in a file: decompose -> fine-tune -> condition -> quantize and export."""

import contextlib
import dataclasses
import time
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from torch import Tensor, nn

from tdq_core.compression.calibrate.layer_by_layer import apply_calibrated
from tdq_core.compression.calibrate.symmetric import apply_symmetric
from tdq_core.compression.condition.apply import Looked, balance, condition, look
from tdq_core.compression.condition.batch_norm import reestimate_batch_norms
from tdq_core.compression.condition.rounding import RoundingError, predicted_failure, rounding_errors
from tdq_core.compression.decompose.factors import Details, Options
from tdq_core.compression.decompose.modules import apply_plan
from tdq_core.compression.finetune.distil import Tuning, distil
from tdq_core.compression.quantize import Artefact, Request, realise
from tdq_core.compression.quantize.scheme import Scheme
from tdq_core.errors import RunFailed
from tdq_core.graph.layer_table import count_macs, count_params
from tdq_core.graph.replace import require_replaced
from tdq_core.pipeline.inputs import RunInputs
from tdq_core.pipeline.session import Compressed, LayerResult, Session
from tdq_core.ranks.built import plan_built
from tdq_core.ranks.plan import LayerPlan, Plan, make_plan, needs_spectra
from tdq_core.records.caches import CACHES
from tdq_core.records.record import LayerRecord
from tdq_core.records.store import runs_folder
from tdq_core.specs.choices import EFFORTS
from tdq_core.system.progress import Progress


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
class Work:
    """One run at work: what it stands on, what is planned, what it may share and where it reports."""

    inputs: RunInputs
    plan: Plan
    session: Session
    clock: Clock
    on_progress: Progress


@dataclass(frozen=True)
class Built:
    """The compressed model as a real artefact, its costs as counted on it, and what was done to each layer.

    Attributes:
        tuning: what fine-tuning tells of itself; None where there was none.
    """

    artefact: Artefact
    params: int
    macs: int
    layers: tuple[LayerRecord, ...]
    warnings: tuple[str, ...]
    tuning: Tuning | None


def plan_of(inputs: RunInputs, clock: Clock, on_progress: Progress) -> Plan:
    """Ranks for every layer, before anything is built: what is out of reach is refused at once."""
    rule, precision = inputs.spec.rule, inputs.spec.precision
    with clock.stage("read layers"):
        if inputs.built is not None:
            return plan_built(inputs.weights_table(spectra=False, on_progress=on_progress), inputs.built, precision)
        table = inputs.table(spectra=needs_spectra(rule), on_progress=on_progress)
        return make_plan(table, inputs.spec.method, rule, precision)


def build(work: Work, folder: Path, *, program: bool = False) -> Built:
    """The model of `work` compressed by its plan, as a file in `folder` (for torch a `program`, where that is asked
    for); raises as `apply_plan` and `realise` do."""
    inputs, clock = work.inputs, work.clock
    spec, example = inputs.spec, inputs.example()
    folder.mkdir(parents=True, exist_ok=True)
    calibration = inputs.calibration if inputs.calib else None
    precision = spec.precision
    request = Request(example=example, calibration=calibration, folder=folder, on_progress=work.on_progress,
                      granularity=precision.granularity, ranges=precision.ranges, opset=precision.opset,
                      aware=precision.quantization_aware, inner_bits=precision.inner_bits, bits=work.plan.bits,
                      program=program)  # fmt: skip
    scheme = request.scheme(precision.numbers) if spec.quantized else None
    compressed, warnings, tuning = compress(work, scheme)
    require_replaced(compressed.module, example[:2])
    params, macs = _counted(work.plan, compressed.module, example[:2])
    with clock.stage("quantize and export"):
        artefact = realise(compressed.module, precision.name, precision.backend, request=request)
    artefact = _as_planned(artefact, work.plan)
    return Built(artefact, params, macs, layer_records(work.plan, compressed), warnings, tuning)


def compress(work: Work, scheme: Scheme | None) -> tuple[Compressed, tuple[str, ...], Tuning | None]:
    """The model in floats, ready to be rounded by `scheme` (None: it stays as it is); warnings, and what fine-tuning
    tells."""
    inputs, clock, session = work.inputs, work.clock, work.session
    treatment, tuning = inputs.spec.treatment, None
    warnings: tuple[str, ...] = ()
    origin = _origin(work)
    with clock.stage("decompose"):
        compressed = session.decomposed.get(origin, lambda: _decompose(work))
    aware = inputs.spec.precision.quantization_aware
    if treatment.finetune:
        with clock.stage("condition"):
            compressed = _readied(work, compressed, scheme, "fine-tuning")
        with clock.stage("fine-tune"):
            module, tuning = _fine_tuned(work, compressed.module, scheme)
            compressed = compressed._replace(module=module)
    with clock.stage("condition"):
        if scheme:
            compressed, warnings = _forecast(work, compressed, scheme)
        if not treatment.finetune:
            way = (origin, inputs.digests.get("calib"), treatment.reestimate_bn, inputs.spec.conditioned, scheme)
            start = compressed
            compressed = session.conditioned.get(
                (*way, aware, tuple(work.plan.bits.items())),
                lambda: _readied(work, start, scheme, "rounding") if aware else _conditioned(work, start, scheme),
            )
    return compressed, warnings, tuning


def _origin(work: Work) -> Hashable:
    """What the factors follow from: they are found once for all precisions that are measured one after the other."""
    made, digests = work.inputs.spec.decomposition, work.inputs.digests
    images = (digests.get("calib"), made.symmetric) if made and made.calibrated else None
    parts = tuple((p.layer.name, p.method, p.ranks) for p in work.plan.layers)
    return digests["model"], parts, options_of(work.inputs), images


def options_of(inputs: RunInputs) -> Options:
    """What the methods are told."""
    made = inputs.spec.decomposition
    if made is None:
        return Options(seed=inputs.spec.seed)
    return Options(seed=inputs.spec.seed, eta=made.eta if made.epc else None, optimal=made.epc_optimum,
                   effort=EFFORTS[made.effort].times, climbs=EFFORTS[made.effort].climbs,
                   solver=made.solver)  # fmt: skip


def _decompose(work: Work) -> Compressed:
    """By the weights alone, or fitted to outputs on the calibration images."""
    inputs, memory, on_progress = work.inputs, work.session.memory, work.on_progress
    dense, plan, options, made = inputs.model.module, work.plan, options_of(work.inputs), inputs.spec.decomposition
    if made and made.symmetric:
        assert inputs.calib is not None, "opened with the run"
        done = apply_symmetric(dense, plan, inputs.calibration, len(inputs.calib), options=options, memory=memory,
                               folder=inputs.sums_folder, on_progress=on_progress)  # fmt: skip
    elif made and made.calibrated:
        done = apply_calibrated(dense, plan, inputs.calibration, options=options, memory=memory,
                                on_progress=on_progress)  # fmt: skip
    else:
        done = apply_plan(dense, plan, options=options, memory=memory, on_progress=on_progress)
    return Compressed.of(*done)


def _fine_tuned(work: Work, module: nn.Module, scheme: Scheme | None) -> tuple[nn.Module, Tuning]:
    """Distilled from the dense model, the rounding to come in the loop; a run that was killed goes on where it was."""
    inputs = work.inputs
    return distil(
        module,
        inputs.model.module,
        inputs.calibration,
        steps=inputs.spec.treatment.finetune,
        seed=inputs.spec.seed,
        scheme=scheme,
        on_progress=work.on_progress,
        checkpoint=runs_folder() / CACHES["finetune"].folder / f"{inputs.run_id}.pt",
    )


def _forecast(work: Work, compressed: Compressed, scheme: Scheme) -> tuple[Compressed, tuple[str, ...]]:
    """What rounding does to each decomposed kernel, and a warning where that is too much."""
    errors = rounding_errors(compressed.module, list(compressed.results), scheme, work.plan.bits)
    warning = predicted_failure(errors)
    told = {name: (RoundingError(rounding_error=error),) for name, error in errors.items()}
    return compressed.told(told), (warning,) if warning else ()


def _readied(work: Work, compressed: Compressed, scheme: Scheme | None, corrected: str) -> Compressed:
    """Before fine-tuning or quantization-aware rounding: batch norms re-estimated and layers balanced, where the spec
    says so; the function stays what it is. What is then made for a grid stays on it: biases are `corrected` there."""
    inputs, module = work.inputs, _reestimated(work, compressed.module)
    if scheme is None or not inputs.spec.conditioned:
        return compressed._replace(module=module)
    names = list(compressed.results)
    module, balanced = balance(module, names, inputs.calibration, scheme, bits=work.plan.bits,
                               looked=_looked(work, module, names), on_progress=work.on_progress)  # fmt: skip
    told = {name: each.corrected_in(corrected) for name, each in balanced.items()}
    return compressed.told(told, module=module)


def _conditioned(work: Work, compressed: Compressed, scheme: Scheme | None) -> Compressed:
    """Without fine-tuning: batch norms re-estimated and layers conditioned, where the spec says so."""
    inputs, module = work.inputs, _reestimated(work, compressed.module)
    if scheme is None or not inputs.spec.conditioned:
        return compressed._replace(module=module)
    names = list(compressed.results)
    module, told = condition(module, names, inputs.calibration, scheme, bits=work.plan.bits,
                             looked=_looked(work, module, names), on_progress=work.on_progress)  # fmt: skip
    return compressed.told(told, module=module)


def _looked(work: Work, module: nn.Module, names: list[str]) -> Looked:
    """What flows inside the decomposed layers, found once for all precisions that are measured one after the other."""
    inputs = work.inputs
    way = (_origin(work), inputs.digests.get("calib"), inputs.spec.treatment.reestimate_bn)
    return work.session.looked.get(way, lambda: look(module, names, inputs.calibration, on_progress=work.on_progress))


def _reestimated(work: Work, module: nn.Module) -> nn.Module:
    if not work.inputs.spec.treatment.reestimate_bn:
        return module
    return reestimate_batch_norms(module, work.inputs.calibration, on_progress=work.on_progress)


def layer_records(plan: Plan, compressed: Compressed) -> tuple[LayerRecord, ...]:
    """What is kept of every layer: its plan, and what was made of it."""
    return tuple(_layer_record(part, compressed.results.get(part.layer.name)) for part in plan.layers)


def _layer_record(part: LayerPlan, result: LayerResult | None) -> LayerRecord:
    layer = part.layer
    return LayerRecord(
        name=layer.name, method=part.method, ranks=part.ranks, params=part.cost.params, macs=part.cost.macs,
        dense_params=layer.params, dense_macs=layer.macs, rel_error=result.rel_error if result else None,
        skipped_because=part.skipped_because,
        detail=(_told(result.details) if result else {}) | ({"bits": part.bits} if part.bits else {}),
    )  # fmt: skip


def _told(details: tuple[Details, ...]) -> dict[str, object]:
    return {name: value for each in details for name, value in msgspec.to_builtins(each).items()}


def _as_planned(artefact: Artefact, plan: Plan) -> Artefact:
    """With the planned bytes in its details, and a note where the file has others."""
    if plan.bytes is None:
        return artefact
    details, notes = {**artefact.details, "planned_bytes": plan.bytes}, artefact.notes
    if artefact.bytes != plan.bytes:
        notes = (*notes, f"The file has {artefact.bytes:,} bytes, planned were {plan.bytes:,}.")
    return dataclasses.replace(artefact, details=details, notes=notes)


def _counted(plan: Plan, module: nn.Module, example: Tensor) -> tuple[int, int]:
    """Params and MACs counted on the built model, which must be those that were planned by arithmetic."""
    counted = (count_params(module), count_macs(module, example))
    if counted != (plan.params, plan.macs):
        raise RunFailed(
            f"The built model has {counted[0]} params and {counted[1]} MACs, planned were {plan.params} and "
            f"{plan.macs}: please report this, its numbers would be wrong."
        )
    return counted
