"""The sets of weights in a checkpoint: which of its tensors, by which names, are a given network's.

Whatever wraps a state dict, dicts around it ('state_dict', 'model', 'ema') or modules around the network (compiled,
data parallel, averaged, Lightning's), puts something before every name. So a set is a place in the checkpoint below
which the network's own names are found; wrappers within the names are passed over.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn.parameter import is_lazy

from tdq_core.graph.state import COUNTER
from tdq_core.models.checkpoints.contents import EXTRA, Contents, below, is_below

WRAPPERS = frozenset(
    ("module", "_orig_mod", "_forward_module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
)  # fmt: skip
"""Names under which torch's own wrappers (and Lightning's) keep the network that they wrap."""
BESIDE = ("n_averaged",)
"""What wrappers keep beside it."""
_TRIED = 8


@dataclass(frozen=True)
class WeightSet:
    """Tensors of a checkpoint by the network's names.

    Attributes:
        place: in the checkpoint; '' is the outermost dict.
        state: by the network's own names as far as it has them, else without what was put before.
        versions: by module, as torch's `_metadata`.
        left: names of tensors in the same dict that lie outside.
    """

    place: str
    state: dict[str, Any]
    versions: dict[str, Mapping[str, Any]]
    left: tuple[str, ...]


class Own:
    """The names of a network.

    Attributes:
        state: its state dict, tied tensors as the same objects.
        ignored: beginnings of names in files that are of no use.
        passed_over: wrappers' names that are looked through; none where the network has names that differ by one alone.
        by_bare: its names by those without them; modules: those of its modules.
    """

    def __init__(self, state: Mapping[str, Any], ignored: tuple[str, ...] = ()) -> None:
        self.state, self.ignored = state, ignored
        told_apart = len({bared(name, WRAPPERS) for name in state}) == len(state)
        self.passed_over = WRAPPERS if told_apart else frozenset()
        self.by_bare = {self.bare(name): name for name in state}
        self.modules = {self.bare(path): path for name in state for path in _paths(name)}

    def bare(self, name: str) -> str:
        return bared(name, self.passed_over)

    def needed(self) -> set[str]:
        """Names that a set must hold, one of each tied group; counters and extra states may be absent."""
        return {name for name in self.state if not name.endswith((COUNTER, EXTRA))}

    def tied(self) -> list[list[str]]:
        """Groups of names that hold one tensor."""
        groups: dict[int, list[str]] = defaultdict(list)
        for name, value in self.state.items():
            if isinstance(value, Tensor):
                groups[id(value)].append(name)
        return [names for names in groups.values() if len(names) > 1]


def bared(name: str, passed_over: Iterable[str]) -> str:
    """`name` without the names of wrappers in it."""
    return ".".join(part for part in name.split(".") if part not in passed_over)


def _paths(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts))]


def complete_sets(contents: Contents, own: Own) -> list[WeightSet]:
    """The sets that have all of the network's tensors in its shapes, in the order in which they lie there."""
    covered = _covered(contents, own)
    places = [place for place, names in covered.items() if _is_complete(names, contents, own)]
    places = [place for place in places if not _is_one_of_many(place, covered[place].values(), contents)]
    return [_set_at(place, covered[place].values(), contents, own, places) for place in places]


def likely_sets(contents: Contents, own: Own) -> list[WeightSet]:
    """Where the network's tensors may lie under other names: most of its names first."""
    covered = _covered(contents, own)
    places = {
        place: list(names.values())
        for place, names in sorted(covered.items(), key=lambda item: -len(item[1]))
        if not _is_one_of_many(place, names.values(), contents)
    }
    by_node: dict[str, list[str]] = defaultdict(list)
    for name in contents.tensors:
        by_node[contents.nodes[name]].append(name)
    for node, names in by_node.items():
        for place in (node, _common(names)):
            places.setdefault(place, names)
    return [_set_at(place, names, contents, own, []) for place, names in list(places.items())[:_TRIED]]


def _covered(contents: Contents, own: Own) -> dict[str, dict[str, str]]:
    """By place, the network's names found below it -> their names in the checkpoint."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for name in contents.tensors:
        parts = name.split(".")
        for start in range(len(parts)):
            if parts[start] not in own.passed_over and (mine := own.by_bare.get(own.bare(".".join(parts[start:])))):
                found[".".join(parts[:start])].setdefault(mine, name)
    return found


def _is_complete(names: Mapping[str, str], contents: Contents, own: Own) -> bool:
    for mine, name in names.items():
        if not is_lazy(own.state[mine]) and _shape(contents.tensors[name]) != _shape(own.state[mine]):
            return False
    lacking = own.needed() - names.keys()
    for group in own.tied():
        if names.keys() & set(group):
            lacking -= set(group)
    return not lacking and bool(names)


def _is_one_of_many(place: str, names: Iterable[str], contents: Contents) -> bool:
    """Whether the set is a numbered layer of a larger network, in which there is more."""
    nodes = {contents.nodes[name] for name in names}
    beside = (name for name, node in contents.nodes.items() if node in nodes and name in contents.tensors)
    return place.rpartition(".")[2].isdigit() and not all(is_below(name, place) for name in beside)


def _shape(value: Any) -> tuple[int, ...] | None:
    return tuple(value.shape) if isinstance(value, Tensor) and not is_lazy(value) else None


def _common(names: list[str]) -> str:
    """What all `names` begin with, their own last parts left out."""
    first, last = min(names).split(".")[:-1], max(names).split(".")[:-1]
    same = 0
    while same < min(len(first), len(last)) and first[same] == last[same]:
        same += 1
    return ".".join(first[:same])


def _set_at(place: str, names: Iterable[str], contents: Contents, own: Own, complete: list[str]) -> WeightSet:
    """The set below `place`: what lies there in the dicts of `names`, but not in another set that is `complete`."""
    nodes = {contents.nodes[name] for name in names}
    others = [other for other in complete if other != place]
    nested = [other for other in others if is_below(other, place)]
    state: dict[str, Any] = {}
    left = []
    for name, value in contents.tensors.items():
        if contents.nodes[name] not in nodes or any(is_below(name, other) for other in nested):
            continue
        if not is_below(name, place):
            left.append(name)
        elif (rest := own.bare(below(name, place))) not in BESIDE and not rest.startswith(own.ignored):
            state.setdefault(own.by_bare.get(rest, rest), value)
    left = [n for n in left if n.rpartition(".")[2] not in BESIDE and not any(is_below(n, other) for other in others)]
    return WeightSet(place, state, _versions_at(place, contents, own), tuple(left))


def _versions_at(place: str, contents: Contents, own: Own) -> dict[str, Mapping[str, Any]]:
    inside = {own.bare(below(path, place)): about for path, about in contents.versions.items() if is_below(path, place)}
    return {own.modules.get(path, path): about for path, about in inside.items()}


def shown(place: str) -> str:
    """A place for people, and for `FILE::PLACE`."""
    return bared(place, WRAPPERS)
