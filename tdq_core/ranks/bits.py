"""Which layer's weights have which bits, where they are given by hand. Numbers only, no torch here."""

from collections.abc import Collection

from tdq_core.errors import InputError
from tdq_core.layers.table import LayerTable
from tdq_core.specs.bits import ANY, fits, said_of
from tdq_core.specs.precision_spec import PrecisionSpec

END_BITS = 8
"""Of the first convolution and of the last layer, which are small and the most sensitive."""


def named_bits(table: LayerTable, precision: PrecisionSpec) -> dict[str, int]:
    """By layer of `table` the bits that are said of it; {} where none are given by hand.

    Raises:
        InputError: a name or pattern that no layer has, or whose layer has no bits of its own.
    """
    said = precision.bits_by_hand
    if said is None:
        return {}
    for name in said:
        _require_layer(table, name)
    found = {la.name: said_of(said, la.name, end=bool(la.end)) for la in table.layers if _is_packed(table, la.name)}
    if table.files:
        found |= {name: found.get(other) for name, other in table.files.tied.items()}
    return {name: bits for name, bits in found.items() if bits is not None}


def bits_by_hand(table: LayerTable, precision: PrecisionSpec, decomposed: Collection[str]) -> dict[str, int | None]:
    """By layer the bits of its weights, named or not; None where it has none, or is a `decomposed` end of which nothing
    is said: its outermost weight has others. {} where none are given by hand."""
    if precision.bits_by_hand is None:
        return {}
    named, usual = named_bits(table, precision), precision.numbers.weight_bits
    return {
        la.name: named.get(la.name, None if not _is_packed(table, la.name) or (la.end and la.name in decomposed)
                           else END_BITS if la.end else usual)
        for la in table.layers
    }  # fmt: skip


def _is_packed(table: LayerTable, name: str) -> bool:
    return table.files is None or name in table.files.packed


def _require_layer(table: LayerTable, name: str) -> None:
    """InputError where bits of this name or pattern have no effect; '*' may always be said."""
    if table.has(name):
        if not _is_packed(table, name):
            raise InputError(
                f"The bits name the layer '{name}', which is no plain convolution or linear layer and stays in fp32: "
                "leave it out."
            )
        if table.files and (other := table.files.tied.get(name)):
            raise InputError(f"The bits name the layer '{name}', whose weight is that of '{other}': name that one.")
        return
    if ANY not in name:
        raise InputError(f"The bits name a layer '{name}' that '{table.model}' does not have; {table.near(name)}.")
    fitting = [la for la in table.layers if fits(name, la.name) and _is_packed(table, la.name)]
    if name != ANY and all(la.end for la in fitting):
        but = " but the first and the last, which keep their bits unless they are named in full" if fitting else ""
        raise InputError(f"The bits of '{name}' fit no layer of '{table.model}'{but}; {table.near(name)}.")
