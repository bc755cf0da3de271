"""Which numbers a network is rounded to, as the verbs are told."""

from collections.abc import Mapping
from typing import Any

from tdq_core.api.networks import Network
from tdq_core.errors import InputError
from tdq_core.ranks.bits import bits_by_hand
from tdq_core.specs import PrecisionSpec
from tdq_core.specs.precision import simulated


def numbers_of(
    precision: str, backend: str = "torch", *, bits: Mapping[str, int] | None, **options: Any
) -> PrecisionSpec:
    """InputError: an unknown precision or backend, bits of weights that are not simulated."""
    numbers = PrecisionSpec(precision, backend, bits="same" if bits is None else bits, **options)  # type: ignore[arg-type]
    if bits is not None and not numbers.numbers.simulated:
        raise InputError(
            f"The 'bits' of single layers are those of simulated weights ({', '.join(simulated())}). Got them with the "
            f"precision '{precision}': leave them out."
        )
    return numbers


def bits_of(network: Network, spec: PrecisionSpec) -> dict[str, int]:
    """By layer of the network as it was, where they are given by hand."""
    if spec.bits_by_hand is None:
        return {}
    found = bits_by_hand(network.dense_table(), spec, network.results)
    return {name: bits for name, bits in found.items() if bits}
