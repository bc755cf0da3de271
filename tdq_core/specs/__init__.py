"""What is asked, as frozen values that are checked when they are made. No torch here."""

from tdq_core.specs.rank_rule import RankRule, require_choice
from tdq_core.specs.run import (
    BACKENDS,
    DEFAULT_ETA,
    GRANULARITIES,
    METHODS,
    PRECISIONS,
    RANDOM_WEIGHTS,
    RANGES,
    SIMULATED,
    RunSpec,
)

__all__ = [
    "BACKENDS",
    "DEFAULT_ETA",
    "GRANULARITIES",
    "METHODS",
    "PRECISIONS",
    "RANDOM_WEIGHTS",
    "RANGES",
    "SIMULATED",
    "RankRule",
    "RunSpec",
    "require_choice",
]
