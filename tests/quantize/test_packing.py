"""Integers of few bits: what is packed comes back, and the bytes are those of the bits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tdq_core.compression.quantize import packing
from tdq_core.compression.quantize.packing import pack, packed_size, unpack

BITS = st.integers(2, 8)


@st.composite
def integers_of(draw: st.DrawFn) -> tuple[int, np.ndarray]:
    bits = draw(BITS)
    shape = draw(st.lists(st.integers(0, 7), min_size=1, max_size=4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return bits, rng.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), shape).astype(np.int8)


@given(integers_of())
def test_packed_integers_come_back(drawn):
    bits, integers = drawn
    packed = pack(integers, bits)
    back = unpack(packed, bits, integers.shape)
    assert back.dtype == np.int8 and packed.dtype == np.uint8
    np.testing.assert_array_equal(back, integers)
    assert len(packed) == packed_size(integers.size, bits) == int(np.ceil(integers.size * bits / 8))


@pytest.mark.parametrize("bits", range(2, 9))
def test_blocks_join_without_a_seam(monkeypatch, bits):
    integers = np.random.default_rng(0).integers(-(2 ** (bits - 1)), 2 ** (bits - 1), 1001).astype(np.int8)
    whole = pack(integers, bits)
    monkeypatch.setattr(packing, "BLOCK", 16)
    np.testing.assert_array_equal(pack(integers, bits), whole)
    np.testing.assert_array_equal(unpack(whole, bits, (1001,)), integers)


def test_two_of_four_bits_share_a_byte_and_four_of_six_share_three():
    assert pack(np.array([-8, 7, 0, 1]), 4).tolist() == [0x0F, 0x89]
    bits = "".join(f"{value + 32:06b}" for value in (-32, 31, 0, 5))
    assert pack(np.array([-32, 31, 0, 5]), 6).tolist() == [int(bits[at : at + 8], 2) for at in (0, 8, 16)]
