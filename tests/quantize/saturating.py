"""The instruction that saturates, and files of one operator to try it on."""

import ctypes
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from tdq_core.system import machine

Sums = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From activations (P, K) uint8 and weights (N, K) int8 to sums (P, N) int32."""

SOURCE = r"""
#include <immintrin.h>
#include <stdint.h>
void sums(const uint8_t *a, const int8_t *w, int32_t *out, long p, long n, long k) {  // k: a multiple of 32
    const __m256i ones = _mm256_set1_epi16(1);
    for (long i = 0; i < p; i++)
        for (long j = 0; j < n; j++) {
            __m256i all = _mm256_setzero_si256();
            for (long at = 0; at < k; at += 32) {
                __m256i x = _mm256_loadu_si256((const void *)(a + i * k + at));
                __m256i y = _mm256_loadu_si256((const void *)(w + j * k + at));
                all = _mm256_add_epi32(all, _mm256_madd_epi16(_mm256_maddubs_epi16(x, y), ones));
            }
            int32_t parts[8], sum = 0;
            _mm256_storeu_si256((void *)parts, all);
            for (int lane = 0; lane < 8; lane++) sum += parts[lane];
            out[i * n + j] = sum;
        }
}
"""


def by_instruction(folder: Path) -> Sums:
    """The sums as this CPU's own `vpmaddubsw` makes them; skips where there is no such CPU, or no C compiler."""
    if platform.machine().lower() not in ("x86_64", "amd64") or "avx2" not in machine.cpu_flags():
        pytest.skip("needs an x86-64 CPU with AVX2, whose instruction is the reference")
    if (compiler := shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")) is None:
        pytest.skip("needs a C compiler, to call the instruction that is the reference")
    source, library = folder / "sums.c", folder / "sums.so"
    source.write_text(SOURCE)
    subprocess.run([compiler, "-O2", "-mavx2", "-shared", "-fPIC", source, "-o", library], check=True)
    function = ctypes.CDLL(str(library)).sums

    def sums(activations: np.ndarray, weights: np.ndarray) -> np.ndarray:
        beyond = -activations.shape[1] % 32
        a, w = (np.ascontiguousarray(np.pad(each, ((0, 0), (0, beyond)))) for each in (activations, weights))
        out = np.empty((len(a), len(w)), np.int32)
        sizes = [ctypes.c_long(size) for size in (len(a), len(w), a.shape[1])]
        function(*(ctypes.c_void_p(each.ctypes.data) for each in (a, w, out)), *sizes)
        return out

    return sums


def one_by_one(activations: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The same, number by number, as the manual of the instruction says it."""
    out = np.zeros((len(activations), len(weights)), np.int32)
    for (i, j), _ in np.ndenumerate(out):
        products = [int(a) * int(w) for a, w in zip(activations[i], weights[j], strict=True)]
        pairs = [sum(products[at : at + 2]) for at in range(0, len(products), 2)]
        out[i, j] = sum(min(max(pair, -32768), 32767) for pair in pairs)
    return out


MASKED = """
import sys
sys.path[:0] = {paths!r}
import numpy as np, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads, options.log_severity_level = 1, 3
for file in {files!r}:
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    images = np.load(file + ".images.npy")
    np.save(file + ".answers.npy", session.run(None, {{session.get_inputs()[0].name: images}})[0])
"""


def by_the_runtime_without_vnni(files: Mapping[Path, np.ndarray]) -> list[np.ndarray]:
    """What ONNX Runtime itself answers, with its kernels for AVX2, on an emulated CPU without VNNI; skips where there
    is no emulator."""
    if platform.machine().lower() not in ("x86_64", "amd64") or (qemu := shutil.which("qemu-x86_64")) is None:
        pytest.skip("needs qemu-x86_64 (Debian: qemu-user), whose Haswell has AVX2 and no VNNI")
    for path, images in files.items():
        np.save(f"{path}.images.npy", images)
    paths = [path for path in sys.path if path.endswith("site-packages")]
    lines = MASKED.format(paths=paths, files=[str(path) for path in files])
    command = [qemu, "-cpu", "Haswell", os.path.realpath(sys.executable), "-I", "-c", lines]
    subprocess.run(command, check=True, stderr=subprocess.PIPE)
    return [np.load(f"{path}.answers.npy") for path in files]


X_ZERO, X_SCALE, Y_ZERO = 117, 0.02, 9


def convolution(path: Path, weights: np.ndarray, size: int = 6, **attributes: Any) -> Path:
    """A file of one QLinearConv between rounding and floats: (N, C, size, ...) float32 to the same kind.

    Its sums are given as they are, but for a scale that fits them into 8 bits.
    """
    m, dims = len(weights), weights.ndim - 2
    given: dict[str, Any] = {
        "x_scale": np.float32(X_SCALE), "x_zero": np.uint8(X_ZERO), "w": weights,
        "w_scale": np.linspace(0.5, 1.5, m, dtype=np.float32), "w_zero": np.zeros(m, np.int8),
        "y_scale": np.float32(X_SCALE * 127 * 16), "y_zero": np.uint8(Y_ZERO), "b": np.arange(m, dtype=np.int32) * 50,
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["in", "x_scale", "x_zero"], ["x"]),
        helper.make_node("QLinearConv", ["x", "x_scale", "x_zero", "w", "w_scale", "w_zero", "y_scale", "y_zero", "b"],
                         ["y"], **attributes),
        helper.make_node("DequantizeLinear", ["y", "y_scale", "y_zero"], ["out"]),
    ]  # fmt: skip
    channels = weights.shape[1] * attributes.get("group", 1)
    return save(path, nodes, given, ("N", channels, *[size] * dims), 2 + dims)


def two_with_one_scale(path: Path, weights: np.ndarray, scale: np.ndarray) -> Path:
    """A file of two convolutions behind DequantizeLinear, as quantizers write them: weights 'a' and 'b' are equal, and
    their scale is one constant, as are the biases'."""
    given = {
        "x_scale": np.float32(X_SCALE), "x_zero": np.uint8(X_ZERO), "a": weights, "b": weights, "scale": scale,
        "bias": np.arange(len(weights), dtype=np.int32) * 777, "bias_scale": (scale * X_SCALE).astype(np.float32),
    }  # fmt: skip
    nodes = [helper.make_node("QuantizeLinear", ["in", "x_scale", "x_zero"], ["x"]),
             helper.make_node("DequantizeLinear", ["x", "x_scale", "x_zero"], ["x_float"])]  # fmt: skip
    for name in "ab":
        nodes += [
            helper.make_node("DequantizeLinear", [name, "scale"], [f"{name}_float"], axis=0),
            helper.make_node("DequantizeLinear", ["bias", "bias_scale"], [f"{name}_bias"], axis=0),
            helper.make_node("Conv", ["x_float", f"{name}_float", f"{name}_bias"], [f"{name}_out"]),
        ]
    nodes.append(helper.make_node("Sub", ["a_out", "b_out"], ["out"]))
    return save(path, nodes, given, ("N", weights.shape[1], 6, 6), 4)


def save(path: Path, nodes: list[NodeProto], given: dict[str, Any], shape: tuple[Any, ...], rank: int) -> Path:
    """A file of these operators from 'in' to 'out', float32."""
    graph = helper.make_graph(
        nodes, "graph",
        [helper.make_tensor_value_info("in", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [None] * rank)],
        [numpy_helper.from_array(np.asarray(values), name) for name, values in given.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path
