"""Files of one run and of the dense network beside it, to be timed."""

from collections.abc import Collection
from pathlib import Path

from msgspec import structs
from torch import Tensor

from tdq_core.compression.quantize import Artefact
from tdq_core.pipeline.build import Clock, Work, build, plan_of
from tdq_core.pipeline.inputs import RunInputs
from tdq_core.pipeline.session import Session
from tdq_core.records.record import RunRecord
from tdq_core.specs import RankRule, RunSpec, Treatment
from tdq_core.specs.precision_spec import PrecisionSpec
from tdq_core.system.progress import Progress


def counting_params(rule: RankRule) -> RankRule:
    """The same rule for a file of other numbers, which is built by the record's ranks."""
    return structs.replace(rule, budget="params", batch=1, threads=1)


class RunFiles:
    """Files of one run and its rivals, built where they are asked for: the run's by its record's ranks, at any
    precision, for a rule may give others there. Nothing is fine-tuned again: that changes what weights hold, and no
    operator."""

    def __init__(self, spec: RunSpec, session: Session, folder: Path, allowed: Collection[str] | None,
                 on_progress: Progress, record: RunRecord | None = None) -> None:  # fmt: skip
        self.spec, self.session, self.folder, self.record = spec, session, folder, record
        self.allowed, self.on_progress = allowed, on_progress

    def run(self, precision: str, backend: str) -> Artefact:
        return self._built(self._at(self.spec.changed(finetune=0), precision, backend), self.record)

    def dense(self, precision: str, backend: str) -> Artefact:
        plain = self.spec.with_parts(decomposition=None, treatment=Treatment())
        return self._built(self._at(plain, precision, backend))

    def example(self) -> Tensor:
        return self._opened(self.spec, self.record).example()

    def _at(self, spec: RunSpec, precision: str, backend: str) -> RunSpec:
        if spec.rule and (precision, backend) != (spec.precision.name, spec.precision.backend):
            spec = spec.changed(rule=counting_params(spec.rule))  # what it counted may be none of the other file
        if precision == spec.precision.name:
            opset = spec.precision.opset if backend == spec.precision.backend else None
            return spec.changed(backend=backend, opset=opset)
        return spec.with_parts(precision=PrecisionSpec(precision, backend))

    def _opened(self, spec: RunSpec, record: RunRecord | None) -> RunInputs:
        return self.session.open(
            spec, as_built=record, on_progress=self.on_progress, allowed_models=self.allowed
        )  # fmt: skip

    def _built(self, spec: RunSpec, record: RunRecord | None = None) -> Artefact:
        inputs, clock = self._opened(spec, record), Clock()
        work = Work(inputs, plan_of(inputs, clock, self.on_progress), self.session, clock, self.on_progress)
        name = f"{spec.method}-{spec.precision.name}-{spec.precision.backend}"
        return build(work, self.folder / name).artefact
