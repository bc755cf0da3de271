"""What the machine can do decides how INT8 weights are kept."""

import pytest

from tdq_core.system import machine


@pytest.mark.parametrize(
    ("processor", "flags", "reduced"),
    [
        ("x86_64", ("avx2",), True),
        ("x86_64", ("avx2", "avx512f"), True),
        ("x86_64", ("avx2", "avx512f", "avx512_vnni"), False),
        ("AMD64", ("avx2", "avx_vnni"), False),
        ("x86_64", (), True),
        ("aarch64", ("asimddp",), False),
        ("arm64", (), False),
    ],
)
def test_weights_keep_to_7_bits_where_8_bit_kernels_saturate(monkeypatch, processor, flags, reduced):
    monkeypatch.setattr(machine.platform, "machine", lambda: processor)
    assert machine.needs_reduced_range(flags) is reduced


def test_versions_name_what_can_change_a_number():
    assert {"python", "tdq", "torch", "onnxruntime", "torchao", "numpy"} <= machine.versions().keys()
