"""Whether two specs are about the same subject: the network, the images and how many of them. Plain values."""

from tdq_core.data.refs import parse_ref
from tdq_core.errors import InputError
from tdq_core.specs import RunSpec


def same_subject(one: RunSpec, other: RunSpec) -> bool:
    """Whether the two measure the same, whatever is done to it."""
    return one.subject == other.subject


def studies_it(study: RunSpec, subject: RunSpec) -> bool:
    """Whether a study of components is about the network and images of `subject`: it looks at calibration images, so
    that the number of those that are evaluated does not count."""
    return same_subject(study.changed(samples=None), subject.changed(samples=None))


def placed(run: RunSpec, here: RunSpec) -> RunSpec:
    """A run's spec with its images where `here` has those of the same kind: the same images lie in other folders on
    other machines. Whether they are the same is for whoever opens them to say."""
    try:
        same = parse_ref(run.images.data).kind == parse_ref(here.images.data).kind
    except InputError:  # given in Python: they have no place
        return run
    return run.changed(data=here.images.data) if same else run
