"""Networks that cannot tell the images apart, compressed or not: nothing measured on them means anything."""

from dashboard.facts.subject import images_name
from dashboard.words import text
from tdq_core.models.registry import MODELS
from tdq_core.records.record import Metrics
from tdq_core.specs import RunSpec
from tdq_core.stats.chance import near_chance

CLASSES = {"digits": 10, "cifar10": 10, "cifar10-jpeg": 10, "imagenet": 1000}
"""Of sets of images that TDQ knows."""


def classes_of(spec: RunSpec) -> int | None:
    """How many classes are told apart; None where nobody knows without opening a folder."""
    if spec.model.name in MODELS:
        return MODELS[spec.model.name].num_classes
    return CLASSES.get(images_name(spec.images.data))


def at_chance(spec: RunSpec, dense: Metrics | None) -> str:
    """A warning where the untouched network, as it was measured, is hardly better than guessing; '' elsewhere."""
    classes = classes_of(spec)
    if dense is None or classes is None or not near_chance(dense.top1_low, classes):
        return ""
    return (
        f"The untouched network gets {text.percent(dense.top1)} of {dense.n:,} images right, and guessing among "
        f"{classes} classes would get {text.percent(1 / classes, 1)}: it does not know these images, so drops and "
        "sizes mean nothing here. Are these its weights, and its images?"
    )
