"""Opening a network: odd modules are replaced by plain ones that compute the same, each proven by comparing.

Every later step (layer table, calibration, folding, rounding, conditioning, fine-tuning) then meets plain Conv2d,
Linear and batch norms. `stages` says in which order; `wrappers`, `weights`, `attention`, `norms` and `subclasses` know
one kind each: what may be odd, and what may take its place; `proof` compares.
"""

from tdq_core.models.opening.stages import opened
from tdq_core.models.opening.wrappers import uncompiled

__all__ = ["opened", "uncompiled"]
