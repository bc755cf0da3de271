"""The machine and the versions that a number was measured with."""

import functools
import os
import platform
import resource
import sys
from collections.abc import Iterator
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


def free_memory(root: Path = Path("/")) -> int:
    """Bytes of memory that could be had now: what the kernel says is available (caches are given back when asked for),
    and no more than is left below the limits of the control groups that this process is in, of version 1 or 2.

    Args:
        root: where `proc` and `sys` are.
    """
    available = _fields(root / "proc/meminfo").get("MemAvailable")
    machine = 1024 * available if available is not None else os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(min([machine, *_left_in_groups(root)]), 0)


def peak_memory(root: Path = Path("/")) -> int:
    """The most bytes that this process has held: on Linux since its program began, for what the system reports of a
    process that was started by a large one also counts that one."""
    most = _fields(root / "proc/self/status").get("VmHWM")
    if most is not None:
        return 1024 * most
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _left_in_groups(root: Path) -> Iterator[int]:
    """What is left below the memory limit of each control group, from this process' own upwards."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if "memory" in controllers.split(","):
            top, files = root / "sys/fs/cgroup/memory", ("limit_in_bytes", "usage_in_bytes", "total_inactive_file")
        elif not controllers:
            top, files = root / "sys/fs/cgroup", ("max", "current", "inactive_file")
        else:
            continue
        own = top / name.strip("/")
        # A container may see its own group as the top, under a name that it has outside.
        for group in (own, *own.parents):
            if group == top or top in group.parents:
                left = _left(group, *files)
                if left is not None:
                    yield left


def _left(group: Path, limit: str, usage: str, cache: str) -> int | None:
    """Bytes below the limit of one group, file pages that are given back when asked for included; None: no limit."""
    try:
        most, used = (int((group / f"memory.{name}").read_text()) for name in (limit, usage))
    except (OSError, ValueError):  # there is no such group here, or it says 'max'
        return None
    return most - used + _fields(group / "memory.stat").get(cache, 0)


def _fields(path: Path) -> dict[str, int]:
    """Lines of a name and a number, as /proc and control groups have them; none where there is no such file."""
    try:
        lines = [line.replace(":", " ").split() for line in path.read_text().splitlines()]
    except OSError:
        return {}
    return {line[0]: int(line[1]) for line in lines if len(line) > 1 and line[1].isdigit()}


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
