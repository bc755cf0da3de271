"""The plan of what was built before: its own ranks, whatever rule they followed from. No torch here."""

from collections.abc import Iterable
from typing import Protocol

from tdq_core.errors import InputError
from tdq_core.layers.table import Layer, LayerTable
from tdq_core.ranks.plan import LayerPlan, Plan, left_alone, taken, whole
from tdq_core.specs import PrecisionSpec


class BuiltLayer(Protocol):
    """What a record keeps of a layer."""

    @property
    def name(self) -> str: ...
    @property
    def method(self) -> str: ...
    @property
    def ranks(self) -> tuple[int, ...]: ...
    @property
    def bits(self) -> int | None: ...
    @property
    def skipped_because(self) -> str | None: ...


def plan_built(table: LayerTable, built: Iterable[BuiltLayer], precision: PrecisionSpec) -> Plan:
    """Of the layers of `table` as those of a run were: rules may follow from times and sensitivities that are measured
    anew, and from a planner that has changed; the network of a run does not.

    Args:
        precision: of the file: layers keep bits of their own where it is the run's, simulated.

    InputError: the run has a layer that the table lacks.
    """
    own = {record.name: record for record in built}
    if missing := sorted(own.keys() - {la.name for la in table.layers}):
        raise InputError(f"The run has layers that '{table.model}' does not have: {', '.join(missing)}.")
    return whole(table, [_planned(la, own.get(la.name), precision) for la in table.layers], precision)


def _planned(layer: Layer, record: BuiltLayer | None, precision: PrecisionSpec) -> LayerPlan:
    if record is None:
        return left_alone(layer, "the run did not know it")
    bits = record.bits if precision.numbers.simulated else None
    if record.method == "none":
        return left_alone(layer, record.skipped_because or "the run left it alone", bits)
    return taken(layer, record.method, record.ranks, bits)
