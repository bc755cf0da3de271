"""Weights from files and folders into a network, and what a reader of its numbers must know of them."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tdq_core.errors import InputError
from tdq_core.models.checkpoints import exports
from tdq_core.models.checkpoints.contents import Contents
from tdq_core.models.checkpoints.fitting import Fit, load_set
from tdq_core.models.checkpoints.folders import Files, files_of, read_files
from tdq_core.models.checkpoints.formats import SAVE_SO
from tdq_core.models.checkpoints.reading import Content, needs_code
from tdq_core.models.checkpoints.refusals import misfit, no_such_part
from tdq_core.models.checkpoints.sets import Own, WeightSet, complete_sets, likely_sets, shown
from tdq_core.models.weights_ref import SEPARATOR, WeightsRef
from tdq_core.system.files import file_sha256

_AVERAGED = re.compile(r"ema|swa|avg|average|shadow|teacher", re.IGNORECASE)


@dataclass(frozen=True)
class Taken:
    """Weights that lie in a network now.

    Attributes:
        source: for people: the file's name, and the set where one was asked for.
        sha256: of the file; of several, of their names and digests.
        code: what computes beside the state, as text for the network's identity; '' where nothing does.
        notes: what was taken, left out or converted, one sentence each.
    """

    source: str
    sha256: str
    code: str = ""
    notes: tuple[str, ...] = ()


def load_weights(
    module: nn.Module, text: str, *, opened: Callable[[nn.Module], nn.Module], ignored: tuple[str, ...] = ()
) -> Taken:
    """Copy the weights that `text` names into `module`, in place.

    Whatever puts names before those of the network is passed over, dicts and wrapping modules alike; what the network
    translates itself is left to it. Layers that TDQ has decomposed in an export are built first.

    Args:
        text: a file of torch.save or safetensors, an index of several, or a folder with either; `PATH::PART` takes the
            weights in one part of it.
        opened: does, in place, what is done to every network after its weights are in it: exports were made of that.
        ignored: beginnings of names in the file that are of no use.

    Raises:
        InputError: nothing is there, it cannot be read without running code, or it does not fit; `module` is then not
            to be used.
    """
    ref = WeightsRef.of(text)
    exports.require_loadable(ref.path)
    files = files_of(ref.path)
    content = read_files(files)
    contents = _asked_for(Contents.of(content.held), ref, content)
    made = exports.NOTHING
    if exports.is_export(files.paths[0], contents, content.about):
        made = exports.rebuild(opened(module), files.paths[0], contents, content.about)
        contents = made.contents or contents
    taken, notes = _load_best(module, contents, ref, ignored)
    made.finish(module)
    source = (ref.path.name or ref.path.resolve().name) + (f"{SEPARATOR}{ref.part}" if ref.part else "")
    notes = (*files.notes, *made.notes, *notes, *_converted(taken, module))
    return Taken(source, _sha256(files), made.code, notes)


def _asked_for(contents: Contents, ref: WeightsRef, content: Content) -> Contents:
    if not contents.tensors:
        if content.objects:
            raise needs_code(ref.path, content.objects[0])
        raise InputError(f"The weights file '{ref.path}' holds no state dict (names with tensors): {SAVE_SO}.")
    if ref.part is None:
        return contents
    inside = contents.within(ref.part)
    if not inside.tensors:
        raise no_such_part(str(ref.path), ref.part, contents)
    return inside


def _load_best(
    module: nn.Module, contents: Contents, ref: WeightsRef, ignored: tuple[str, ...]
) -> tuple[WeightSet, tuple[str, ...]]:
    own = Own(module.state_dict(keep_vars=True), ignored)
    complete = sorted(complete_sets(contents, own), key=lambda s: (_beyond(s, own), _is_average(s)))
    tried: list[Fit] = []
    for found in [*complete, *(likely_sets(contents, own) if not complete else ())]:
        fit = load_set(module, found, str(ref.path))
        if fit:
            return found, (*_others(found, complete, ref), *_left_out(found))
        tried.append(fit)
    raise misfit(str(ref.path), ref.path, tried[0], contents, own)


def _beyond(found: WeightSet, own: Own) -> bool:
    """Whether it holds more than the network has."""
    return not found.state.keys() <= own.state.keys()


def _is_average(found: WeightSet) -> bool:
    return bool(_AVERAGED.search(found.place))


def _others(taken: WeightSet, complete: list[WeightSet], ref: WeightsRef) -> tuple[str, ...]:
    """Which set was taken, where there are others with other values."""
    others = [s for s in complete if s is not taken and not _equal(s, taken)]
    if not others:
        return ()
    names = ", ".join(f"'{_place(s)}'" for s in (taken, *others))
    return (
        f"The weights file '{ref.path.name}' holds {len(others) + 1} sets of weights, {names}: '{_place(taken)}' was "
        f"taken; '{ref.path.name}{SEPARATOR}{_place(others[0])}' takes the other.",
    )


def _place(found: WeightSet) -> str:
    return shown(found.place) or found.place or "the outermost"


def _equal(one: WeightSet, other: WeightSet) -> bool:
    both = one.state.keys() & other.state.keys()
    pairs = [(one.state[name], other.state[name]) for name in both]
    return all(torch.equal(a, b) for a, b in pairs if isinstance(a, Tensor) and isinstance(b, Tensor))


def _left_out(found: WeightSet) -> tuple[str, ...]:
    if not found.left:
        return ()
    first, more = found.left[0], len(found.left) - 1
    others = f" and {more} more" if more else ""
    return (f"What the weights file has beside the model was left out: {first}{others}.",)


def _converted(found: WeightSet, module: nn.Module) -> tuple[str, ...]:
    """A note on numbers that are stored in another precision than the one they are measured in."""
    floats = [v.dtype for v in found.state.values() if isinstance(v, Tensor) and v.is_floating_point()]
    kinds = sorted({str(kind).removeprefix("torch.") for kind in floats if kind != torch.float32})
    if not kinds:
        return ()
    how = "rounded to" if "float64" in kinds else "taken as they are into"
    return (f"Weights are stored as {', '.join(kinds)} and were {how} float32, in which the model is measured.",)


def _sha256(files: Files) -> str:
    if files.several is None:
        return file_sha256(files.paths[0])
    lines = [f"{path.name} {file_sha256(path)}" for path in (files.several, *files.paths)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
