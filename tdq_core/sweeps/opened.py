"""Runs by the contents of their networks and images: what a sweep opens before any work."""

from collections.abc import Collection, Iterable
from typing import NamedTuple

from tdq_core.pipeline.session import Session
from tdq_core.specs import RunSpec
from tdq_core.sweeps.messages import Ask
from tdq_core.system.progress import Progress


class Named(NamedTuple):
    """A run with its name.

    Attributes:
        dense_id: the name of the run that its drop is taken from.
    """

    spec: RunSpec
    run_id: str
    digests: dict[str, str]
    dense_id: str

    @property
    def ask(self) -> Ask:
        return Ask(self.spec.to_dict(), self.run_id, self.digests)


def named(
    specs: Iterable[RunSpec], on_progress: Progress, allowed_models: Collection[str] | None = None
) -> dict[RunSpec, Named]:
    """Every run of `specs`, and the dense run that it is compared with.

    Raises:
        InputError: a network or images that do not exist or cannot be read.
    """
    session, found = Session(), dict[RunSpec, Named]()
    wanted = sorted(specs, key=lambda spec: (repr(spec.model), spec.seed, repr(spec.images)))  # each is opened once
    for done, spec in enumerate(wanted):
        on_progress("open", done, len(wanted))
        inputs = session.open(spec, allowed_models=allowed_models)
        dense = inputs.dense()
        found[spec] = Named(spec, inputs.run_id, inputs.digests, dense.run_id)
        found.setdefault(dense.spec, Named(dense.spec, dense.run_id, dense.digests, dense.run_id))
    return found
