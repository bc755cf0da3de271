"""The predictor of a network, from the sensitivities and the runs that are on the shelf."""

from collections.abc import Iterable

from tdq_core.prediction.curve import Run
from tdq_core.prediction.predictor import Predictor
from tdq_core.prediction.sensitivity import Sensitivities, subject_of
from tdq_core.records.record import RunRecord
from tdq_core.specs import RunSpec

EVERYWHERE = ("digits", "cifar10", "cifar10-jpeg")
"""Data sets that hold the same images in every folder."""


def sensitivities_for(
    spec: RunSpec, every: Iterable[Sensitivities], *, digest: str | None = None
) -> Sensitivities | None:
    """Those of the network of `spec`; where there are several, those on its own calibration images, on most images.

    Args:
        digest: of the network's content; None: its name and weights have to do.
    """
    wanted = subject_of(spec)
    fitting = [s for s in every
               if (s.digests["model"] == digest if digest else s.spec.model == spec.model)]  # fmt: skip
    return max(fitting, key=lambda s: (subject_of(s.spec) == wanted, s.images, s.sensitivity_id), default=None)


def predictor_for(
    spec: RunSpec, found: Sensitivities, records: Iterable[RunRecord], memory: dict[str, Run | None] | None = None
) -> Predictor:
    """Refitted on the runs of this network that were measured on the same images; `memory`: see `Predictor`."""
    own = [record for record in records if same_images(record.spec.images.data, spec.images.data)]
    return Predictor(found, own, memory=memory)


def same_images(a: str, b: str) -> bool:
    """Whether two references name the same images: a known data set is the same wherever it lies."""
    known = a.partition(":")[0]
    return a == b or (known == b.partition(":")[0] and known in EVERYWHERE)


def missing(spec: RunSpec) -> str:
    """Why nothing is predicted for a network without sensitivities, and the way out."""
    return (
        f"Nothing is predicted: the sensitivities of '{spec.model.name}' have not been measured; `tdq sensitivity` "
        "with the same model and images measures them."
    )
