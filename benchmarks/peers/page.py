"""What was measured as the page docs/benchmarks.md, and as the file that it is written from."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from msgspec import Struct, json

from benchmarks.peers.racing import Row
from benchmarks.peers.ways import WAYS

MEASURED = Path(__file__).with_name("measured.json")
PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"
HEAD = """# What others would pick, on the same clock

Written by `python -m benchmarks.peers` from what it measured (`benchmarks/peers/measured.json`), not by hand.

Each way compresses in a process of its own (its seconds of CPU, and the most memory that the process held),
looks at unlabelled calibration images at most, and trains nothing. The files are then scored on the same images and
called **in turn** in one process, one image a call on one thread; *times as fast* is paired round by round with ONNX
Runtime's INT8 of the whole network. Ways that make a network smaller and no integers get INT8 from ONNX Runtime's
static quantization (QDQ, unsigned activations, signed weights, a scale per channel, as its guide says for x86).
*By time* reads times of layers that are taken once for a network, in minutes that are not counted.
Drops are against the dense network in fp32, paired by image. Brackets are 95 % intervals.
"""
COLUMNS = (
    "way",
    "top-1, %",
    "drop, points",
    "bytes",
    "ms",
    "times as fast as INT8 alone",
    "made in, CPU s",
    "memory, MB",
)


class Measured(Struct, frozen=True, kw_only=True):
    """One network.

    Attributes:
        ratio: of params that was asked for; speed: of time; calib: calibration images.
        machine: CPU and versions; load: average before the first call.
    """

    network: str
    data: str
    ratio: float
    speed: float
    calib: int
    rows: tuple[Row, ...]
    machine: dict[str, Any]
    time: str
    load: float


def kept() -> dict[str, Measured]:
    """By network."""
    return json.decode(MEASURED.read_bytes(), type=dict[str, Measured]) if MEASURED.exists() else {}


def keep(found: Iterable[Measured]) -> None:
    """Add to what is kept, and write the page."""
    every = kept() | {each.network: each for each in found}
    MEASURED.write_bytes(json.format(json.encode(every), indent=1) + b"\n")
    PAGE.write_text(written(every))


def written(every: dict[str, Measured]) -> str:
    """The page."""
    ways = [f"- **{way.name}** ({', '.join(way.packages)}): {way.what}" for way in WAYS]
    return "\n".join([HEAD, *ways, "", *(line for each in every.values() for line in _section(each))])


def _section(measured: Measured) -> Iterable[str]:
    done = [row for row in measured.rows if row.made.file]
    yield f"## {measured.network}\n"
    yield (
        f"{done[0].n:,} images of {measured.data}, {measured.calib} for calibration. Smaller networks were asked for "
        f"{measured.ratio:g} times fewer params; *by time* for {measured.speed:g} times the speed of dense INT8.\n"
    )
    yield f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}"
    for row in done:
        yield f"| {' | '.join(_cells(row))} |"
    yield ""
    missing = [f"- Not run: **{row.made.way}**: {row.made.reason}" for row in measured.rows if row.made.reason]
    yield from [*missing, ""] if missing else []
    versions = dict(pair for row in done for pair in row.made.versions.items())
    told = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    runtime = ", ".join(f"{n} {measured.machine['versions'][n]}" for n in ("torch", "onnx", "onnxruntime"))
    yield f"{measured.machine['cpu']}, load average {measured.load:.1f} before, {measured.time}. {told}; {runtime}.\n"


def _cells(row: Row) -> tuple[str, ...]:
    assert row.top1 and row.drop and row.ms
    top1, drop = ([100 * x for x in each] for each in (row.top1, row.drop))
    times = f"{row.times.median:.2f} [{row.times.low:.2f}, {row.times.high:.2f}]" if row.times else "1"
    return (
        row.made.way, f"{top1[0]:.1f} [{top1[1]:.1f}, {top1[2]:.1f}]", f"{drop[0]:+.1f} [{drop[1]:.1f}, {drop[2]:.1f}]",
        f"{row.made.bytes:,}", f"{row.ms.median_ms:.3g}", times, f"{row.made.seconds:.0f}", f"{row.made.peak_mb:,.0f}",
    )  # fmt: skip
