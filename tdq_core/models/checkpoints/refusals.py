"""What is said of weights that do not fit a network: the first names of both, and the way out."""

import re
from collections.abc import Iterable
from pathlib import Path

from tdq_core.compression.methods import IMPLEMENTATIONS
from tdq_core.errors import InputError
from tdq_core.models.checkpoints.contents import Contents
from tdq_core.models.checkpoints.fitting import Fit
from tdq_core.models.checkpoints.folders import lone_shard
from tdq_core.models.checkpoints.sets import Own
from tdq_core.models.weights_ref import RANKS, SEPARATOR

_SHOWN = 3


def misfit(source: str, path: Path, fit: Fit, contents: Contents, own: Own) -> InputError:
    """The sentence for weights of which no set fits."""
    return InputError(
        f"The weights '{source}' do not fit the model: {fit.text()}. The file has {_first(contents.tensors)}, the "
        f"model {_first(own.state)}: {_way_out(path, contents, own)}."
    )


def no_such_part(source: str, part: str, contents: Contents) -> InputError:
    """The sentence for a set that is asked for and not there."""
    return InputError(
        f"The weights '{source}' have nothing called '{part}': {', '.join(contents.tops()[:8])} are there; "
        f"FILE{SEPARATOR}NAME takes one of them."
    )


def _first(names: Iterable[str]) -> str:
    names = list(names)
    more = f", ... ({len(names)})" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}" if names else "none"


def _way_out(path: Path, contents: Contents, own: Own) -> str:
    if told := lone_shard(path):
        return told
    if _looks_decomposed(contents, own):
        return (
            f"layers that TDQ has decomposed are built from the '{RANKS}' beside their file, so give the folder that "
            "`tdq run --export` wrote, whole"
        )
    return "give weights of this very model, as torch.save(model.state_dict(), FILE) writes them"


def _looks_decomposed(contents: Contents, own: Own) -> bool:
    """Whether layers of the network lie there as the sub-layers of a method."""
    stages = {stage for made in IMPLEMENTATIONS.values() for stage in made.stages}
    pattern = re.compile(rf"(.+)\.({'|'.join(stages)})\.weight")
    found = [match for name in contents.tensors if (match := pattern.fullmatch(name))]
    return any(own.by_bare.get(own.bare(f"{match[1]}.weight")) for match in found)
