"""Whether the parts of a study of components fit each other: asked of every one that is read. No torch here."""

import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING

from msgspec import Struct

from tdq_core.records.bounds import Named, Positive
from tdq_core.records.sound import require, require_as, require_text

if TYPE_CHECKING:
    from tdq_core.analysis.components import Components, LayerComponents, Variant

VARIANTS = ("als", "epc", "equalised")
STAGES = ("input", "depthwise", "output")


class Told(Struct, frozen=True):
    """What is told of provenance."""

    calib_split: str
    calib_n: Positive


class Digests(Struct, frozen=True):
    """The contents that a study stands on."""

    model: Named
    calib: Named


def require_sound_study(study: "Components") -> None:
    """Return where its parts fit each other; InputError, in a sentence, where they do not."""
    made = study.spec.decomposition
    require(made is not None and made.epc, "It is not about CP with EPC")
    require_as(study.provenance, Told, "provenance")
    require_as(study.digests, Digests, "digests")
    require_text(*study.notes)
    names = [layer.name for layer in study.layers]
    require(bool(names) and len(set(names)) == len(names), "Its layers must be there, and each once")
    for layer in study.layers:
        _require_layer(layer)


def _require_layer(layer: "LayerComponents") -> None:
    where = f"In its layer '{layer.name}'"
    bins = layer.bins
    require(len(bins) > 1 and all(a < b for a, b in itertools.pairwise(bins)), f"{where} the bins do not rise")
    require(set(layer.variants) == set(VARIANTS), f"{where} the variants are not {', '.join(VARIANTS)}")
    for variant in layer.variants.values():
        _require_variant(variant, layer.rank, len(bins) - 1, where)


def _require_variant(variant: "Variant", rank: int, bins: int, where: str) -> None:
    require(set(variant.stages) == set(STAGES), f"{where} the stages are not {', '.join(STAGES)}")
    require(set(variant.inner) == set(STAGES[:-1]), f"{where} the inner activations are not two")
    lengths: Iterable[int] = (
        len(variant.norms),
        *(len(stage.largest) for stage in variant.stages.values()),
        *(len(side) for inner in variant.inner.values() for side in (inner.low, inner.high)),
    )
    require(set(lengths) == {rank}, f"{where} a variant has not {rank} components")
    require(all(len(s.counts) == bins for s in variant.stages.values()), f"{where} a count has not {bins} bins")
    ordered = (low <= high for inner in variant.inner.values() for low, high in zip(inner.low, inner.high, strict=True))
    require(all(ordered), f"{where} a range ends below its begin")
