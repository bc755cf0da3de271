"""The machine and the versions that a number was measured with."""

import functools
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "torch",
    "torchvision",
    "torchao",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "numpy",
    "tensorly",
    "streamlit",
)
REPORTED_FLAGS = ("avx2", "f16c", "avx512f", "avx512_vnni", "avx_vnni", "avx512_fp16", "amx_int8", "asimddp")


@functools.cache
def cpu_flags() -> tuple[str, ...]:
    """The CPU's flags that matter here (Linux: /proc/cpuinfo; elsewhere none are known)."""
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return ()
    present: set[str] = set()
    for line in cpuinfo.read_text().splitlines():
        if line.startswith(("flags", "Features")):
            present = set(line.split(":", 1)[1].split())
            break
    return tuple(flag for flag in REPORTED_FLAGS if flag in present)


def free_memory() -> int:
    """Bytes of memory that are free now."""
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@functools.cache
def cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def needs_reduced_range(flags: tuple[str, ...] | None = None) -> bool:
    """Whether 8-bit weights must stay within 7 bits on this CPU.

    On x86 without VNNI the int8 kernels add pairs of products in 16 bits and saturate (`vpmaddubsw`);
    with 7-bit weights they cannot. Arm and x86 with VNNI accumulate in 32 bits.
    """
    flags = cpu_flags() if flags is None else flags
    x86 = platform.machine().lower() in ("x86_64", "amd64", "i686")
    return x86 and not {"avx512_vnni", "avx_vnni", "amx_int8"} & set(flags)


@functools.cache
def versions() -> dict[str, str]:
    """Installed versions of the packages that can change a number, and of Python and TDQ."""
    found = {"python": platform.python_version(), "tdq": _version("tdq") or "unknown"}
    return found | {name: v for name in PACKAGES if (v := _version(name))}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def describe() -> dict[str, Any]:
    """Provenance fields that do not depend on the run."""
    return {
        "versions": versions(),
        "cpu": cpu_name(),
        "cpu_flags": list(cpu_flags()),
        "cores": os.cpu_count(),
        "platform": platform.platform(),
    }
