"""Whether two specs are about the same subject: the network, the images and how many of them. Plain values."""

from tdq_core.specs import RunSpec


def same_subject(one: RunSpec, other: RunSpec) -> bool:
    """Whether the two measure the same, whatever is done to it."""
    return one.subject == other.subject


def studies_it(study: RunSpec, subject: RunSpec) -> bool:
    """Whether a study of components is about the network and images of `subject`: it looks at calibration images, so
    that the number of those that are evaluated does not count."""
    return same_subject(study.changed(samples=None), subject.changed(samples=None))
