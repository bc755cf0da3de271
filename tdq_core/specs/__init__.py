"""What is asked, as frozen values that are checked when they are made. No torch here.

A run's spec is made of specs (model, images, decomposition, treatment, precision); `parts` declares their fields once,
with how each is called, written and shown. `command` writes a spec as a command line.
"""

from tdq_core.specs.parts import (
    DEFAULT_ETA,
    RANDOM_WEIGHTS,
    Decomposition,
    ImageSpec,
    ModelSpec,
    Treatment,
)
from tdq_core.specs.precision import BACKENDS, PRECISIONS, Backend, Precision
from tdq_core.specs.precision_spec import PrecisionSpec
from tdq_core.specs.rank_rule import RankRule
from tdq_core.specs.run import RunSpec

__all__ = [
    "BACKENDS",
    "DEFAULT_ETA",
    "PRECISIONS",
    "RANDOM_WEIGHTS",
    "Backend",
    "Decomposition",
    "ImageSpec",
    "ModelSpec",
    "Precision",
    "PrecisionSpec",
    "RankRule",
    "RunSpec",
    "Treatment",
]
