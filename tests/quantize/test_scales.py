"""Scales as files hold them: 16 bits each, times a power of two that a layer's scales share."""

import torch
from hypothesis import example, given
from hypothesis import strategies as st

from tdq_core.compression.quantize.weight_grid import TINY, from_halves, in_halves, storable, unit_of

scales = st.lists(st.floats(TINY, 2.0**100, width=32), min_size=1, max_size=9).map(torch.tensor)


@given(scales)
@example(torch.tensor([2 - 2.0**-13, 3 * 2.0**-24]))  # the largest rises, and the unit with it
def test_what_is_storable_is_kept_exactly_and_stays_positive(scale: torch.Tensor) -> None:
    kept = storable(scale)
    assert kept.dtype == torch.float32 and (kept > 0).all() and kept.isfinite().all()
    assert torch.equal(storable(kept), kept)
    halves = in_halves(kept, unit := unit_of(kept))
    assert halves.dtype == torch.float16 and -128 <= unit <= 127
    assert torch.equal(from_halves(halves, unit), kept)


@given(scales)
def test_it_is_near_and_in_the_same_order(scale: torch.Tensor) -> None:
    kept, largest = storable(scale).double(), scale.max().double()
    off = (kept - scale.double()).abs()
    assert (
        off <= torch.maximum(scale.double() * 2.0**-10, torch.maximum(largest * 2.0**-23, torch.tensor(TINY)))
    ).all()
    order = scale.argsort()
    assert (kept[order].diff() >= 0).all()


@given(scales)
def test_those_that_must_not_clip_are_no_smaller(scale: torch.Tensor) -> None:
    above, near = storable(scale, above=True), storable(scale)
    assert (above >= scale).all()
    assert torch.equal(storable(above), above)
    assert ((above <= near * (1 + 2.0**-9)) | (above <= scale.max() * 2.0**-13)).all()
