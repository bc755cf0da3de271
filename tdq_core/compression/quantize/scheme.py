"""What integers a precision stands for."""

from dataclasses import dataclass, replace

from tdq_core.specs.precision import Precision

INT8_LIMIT, REDUCED_INT8_LIMIT = 127, 64


@dataclass(frozen=True)
class Scheme:
    """Weights signed and symmetric, activations unsigned with a zero point, one scale per tensor of activations.

    Attributes:
        weight_bits: bits of a weight.
        activation_bits: bits of an activation; None: activations stay fp32.
        granularity: 'channel' (one scale per output channel of a weight) or 'tensor'.
        ranges: 'minmax' or 'mse'.
        reduced: 8-bit weights stay within +-64, for CPUs whose 16-bit sums would saturate.
    """

    weight_bits: int
    activation_bits: int | None
    granularity: str = "channel"
    ranges: str = "minmax"
    reduced: bool = False

    def with_weights_of(self, bits: int | None) -> "Scheme":
        """The same with weights of so many bits; None: as they are."""
        return self if bits is None else replace(self, weight_bits=bits)

    @property
    def weight_limit(self) -> int:
        """The largest integer of a weight; the smallest is its negative."""
        return REDUCED_INT8_LIMIT if self.reduced else 2 ** (self.weight_bits - 1) - 1

    @property
    def activation_levels(self) -> int | None:
        """Steps between the smallest and the largest activation."""
        return None if self.activation_bits is None else 2**self.activation_bits - 1

    @property
    def weights_text(self) -> str:
        """The weights in words, for a record."""
        per = "per output channel" if self.granularity == "channel" else "per tensor"
        return f"int{self.weight_bits}, {per}, symmetric"

    @property
    def activations_text(self) -> str:
        """The activations in words, for a record."""
        if self.activation_bits is None:
            return "fp32"
        ranges = "min-max" if self.ranges == "minmax" else "least squared error"
        return f"uint{self.activation_bits}, per tensor, {ranges}"


def scheme_of(
    precision: Precision, *, granularity: str = "channel", ranges: str = "minmax", reduced: bool = False
) -> Scheme:
    """The integers of a precision; `reduced` counts for int8 alone, whose kernels are real."""
    assert precision.integer, "asked for of integers only"
    reduced = reduced and not precision.simulated
    return Scheme(precision.weight_bits, precision.activation_bits, granularity, ranges, reduced)
