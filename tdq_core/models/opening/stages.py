"""The kinds of odd modules one after another, and what is told of them."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from tdq_core.graph.arguments import Arguments, arguments
from tdq_core.graph.layer_table import count_params
from tdq_core.graph.oddities import hooks
from tdq_core.graph.replace import replace
from tdq_core.graph.wrappers import unwrapped
from tdq_core.models.opening.attention import odd_attention, odd_encoders, plain_attention, plain_encoder
from tdq_core.models.opening.norms import odd_norms, plain_norm
from tdq_core.models.opening.proof import WHOLE, StaysOdd, answer, same
from tdq_core.models.opening.subclasses import odd_layers, plain_layer
from tdq_core.models.opening.weights import computed_weights, plain_weights, zeros_of
from tdq_core.models.opening.wrappers import scripted

_SHOWN = 3


@dataclass(frozen=True)
class Kind:
    """One kind of odd modules.

    Attributes:
        odd: finds them, by name.
        plain: what takes the place of one, given the arguments of its calls; raises StaysOdd.
        told: whether a reader is told that they have been replaced.
    """

    odd: Callable[[nn.Module], Mapping[str, nn.Module]]
    plain: Callable[[Any, Any], nn.Module]
    told: bool = True


KINDS = (
    Kind(computed_weights, plain_weights),
    Kind(odd_encoders, plain_encoder, told=False),
    Kind(odd_attention, plain_attention, told=False),
    Kind(odd_norms, plain_norm),
    Kind(odd_layers, plain_layer),
)
"""In their order: what holds a computed weight may be an attention or a subclass as well."""

Left = dict[tuple[str, str], list[str]]
"""(Class, why) -> names of the modules that stay as they are."""


def opened(module: nn.Module, example: Tensor) -> tuple[nn.Module, tuple[str, ...]]:
    """`module`, changed in place, with plain modules where there were odd ones; and notes for who reads its numbers.

    Args:
        module: in eval mode.
        example: (N, C, H, W), passed to see with what odd modules are called, and to compare the whole.

    Returns:
        The network, which answers as `module` did; and a sentence each for what was replaced, what that changes in its
        costs, and what stays odd and why.
    """
    module, _ = unwrapped(module)
    before, zeros = count_params(module), zeros_of(dict(computed_weights(module)))
    replaced: Counter[str] = Counter()
    left: Left = defaultdict(list)
    for kind in KINDS:
        module, done = _open(module, kind, example, left)
        replaced.update(done if kind.told else ())
    for name, part in scripted(module).items():
        left[type(part).__name__, "is scripted"].append(name)
    return module, tuple(_notes(replaced, left, zeros, before, count_params(module)))


def _open(module: nn.Module, kind: Kind, example: Tensor, left: Left) -> tuple[nn.Module, list[str]]:
    """The network with what could be replaced of this kind, and a word for each; what could not is added to `left`."""
    found = dict(kind.odd(module))
    if not found:
        return module, []
    whole: Arguments = ((example,), {})
    expected, calls = answer(module, whole), arguments(module, found, example)
    new, stay = {}, {}
    for name in sorted(found, key=lambda name: -name.count(".")):  # what lies deeper first
        try:
            new[name] = kind.plain(module.get_submodule(name), calls[name])
        except StaysOdd as reason:
            stay[name] = str(reason)
            continue
        module = replace(module, {name: new[name]})
    if new and not _answers(module, whole, expected):
        for name in reversed(new):
            module = replace(module, {name: found[name]})
        stay |= dict.fromkeys(new, "cannot be replaced: the network would answer otherwise, or stop")
        new = {}
    for name, why in stay.items():
        left[type(found[name]).__name__, why].append(name)
    return module, [_word(found[name]) for name in found if name in new]


def _answers(module: nn.Module, whole: Any, expected: Any) -> bool:
    try:
        return same(expected, answer(module, whole), WHOLE)
    except Exception:  # its code asks something of the odd module that the plain one cannot answer
        return False


def _word(module: nn.Module) -> str:
    names = hooks(module)
    return type(module).__name__ + (f" with {', '.join(names)}" if names else "")


def _notes(replaced: Counter[str], left: Left, zeros: tuple[int, int], before: int, after: int) -> list[str]:
    notes = []
    if replaced:
        kinds = ", ".join(f"{count} {word}" for word, count in replaced.items())
        notes.append(f"Modules were replaced by plain ones that compute the same: {kinds}.")
    if zeros[1]:
        notes.append(f"Pruning masks were applied: {zeros[0]} of {zeros[1]} weights are zero.")
    if after != before:
        notes.append(f"So it has {after} params; with the modules replaced it was built with {before}.")
    for (kind, why), names in left.items():
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        shown = ", ".join(f"'{name}'" for name in names[:_SHOWN])
        notes.append(f"A {kind} stays as it is, since it {why}: {shown}{more}.")
    return notes
