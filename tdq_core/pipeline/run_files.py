"""Files of one run and of the dense network beside it, to be timed."""

from collections.abc import Collection
from pathlib import Path

from torch import Tensor

from tdq_core.compression.quantize import Artefact
from tdq_core.pipeline.build import Clock, Work, build, plan_of
from tdq_core.pipeline.session import Session
from tdq_core.specs import RunSpec, Treatment
from tdq_core.specs.precision_spec import PrecisionSpec
from tdq_core.system.progress import Progress


class RunFiles:
    """Files of one run and its rivals, built where they are asked for."""

    def __init__(self, spec: RunSpec, session: Session, folder: Path, allowed: Collection[str] | None,
                 on_progress: Progress) -> None:  # fmt: skip
        self.spec, self.session, self.folder = spec, session, folder
        self.allowed, self.on_progress = allowed, on_progress

    def run(self, precision: str, backend: str) -> Artefact:
        return self._built(self._at(self.spec, precision, backend))

    def dense(self, precision: str, backend: str) -> Artefact:
        plain = self.spec.with_parts(decomposition=None, treatment=Treatment())
        return self._built(self._at(plain, precision, backend))

    def example(self) -> Tensor:
        return self.session.open(self.spec, allowed_models=self.allowed).example()

    def _at(self, spec: RunSpec, precision: str, backend: str) -> RunSpec:
        if precision == spec.precision.name:
            opset = spec.precision.opset if backend == spec.precision.backend else None
            return spec.changed(backend=backend, opset=opset)
        return spec.with_parts(precision=PrecisionSpec(precision, backend))

    def _built(self, spec: RunSpec) -> Artefact:
        inputs = self.session.open(spec, on_progress=self.on_progress, allowed_models=self.allowed)
        clock = Clock()
        work = Work(inputs, plan_of(inputs, clock, self.on_progress), self.session, clock, self.on_progress)
        name = f"{spec.method}-{spec.precision.name}-{spec.precision.backend}"
        return build(work, self.folder / name).artefact
