"""The card of an export, README.md beside the file: what it is, what it scores, and how it runs. No torch here."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tdq_core.models.registry import is_known_code
from tdq_core.pipeline.exports.loading import lines
from tdq_core.pipeline.exports.told import NAME, Told
from tdq_core.pipeline.exports.without_vnni import Saturation
from tdq_core.records.record import RunRecord
from tdq_core.specs.formats import FORMATS
from tdq_core.specs.precision import PRECISIONS
from tdq_core.stats.sizes import both_ways
from tdq_core.system.files import write_atomically
from tdq_core.system.plain_text import printable

_WITHOUT_VNNI = "## On a CPU without VNNI"


def write_card(folder: Path, told: Told, record: RunRecord | None, *, notes: Sequence[str] = ()) -> Path:
    """Write the card of an export into its folder."""
    return write_atomically(folder / "README.md", card(told, record, notes=notes))


def card(told: Told, record: RunRecord | None, *, notes: Sequence[str] = ()) -> str:
    """The card as Markdown; names and sentences of others stand in code spans or blocks, where nothing is markup."""
    parts = [
        f"# {_code(told.model)}, {PRECISIONS[told.precision].label}, {FORMATS[told.format].label}",
        "\n".join(_facts(told, record)),
        "## Run it" + ("" if FORMATS[told.format].rebuilt else " without TDQ"),
        f"```python\n{snippet(told)}```",
        f"Images are float32, (N, C, H, W) = (N, {', '.join(map(str, told.preprocessing.input_shape))}); the answer is "
        "(N, classes), the logits. Any N.",
        _preparation(told),
        "## Check it",
        f"```\ntdq verify {_here(record)}\n```",
        f"It holds the file against the SHA-256, the logits and the answers in `{NAME}`.",
    ]
    if told.settings:
        parts += ["## How it was made", f"```\n{_plain(told.settings)}\n```"]
    kept = [*(record.notes if record else ()), *notes]
    if kept:
        parts += ["## What to know", "\n".join(f"- {_code(note)}" for note in dict.fromkeys(kept))]
    return "\n\n".join(parts) + "\n"


def tell_saturation(folder: Path, found: Saturation) -> None:
    """Put what was found of CPUs without VNNI at the end of the card in `folder`, where there is one."""
    try:
        before = (folder / "README.md").read_text().partition(_WITHOUT_VNNI)[0].rstrip()
    except OSError:  # somebody has removed it: it is not missed
        return
    lines = [_WITHOUT_VNNI, f"{found.sentence()}. Emulated: pairs of 8-bit products saturate there in 16 bits."]
    if found.seven_bits:
        lines.append(f"Within 7 bits, where they cannot: {', '.join(map(_code, found.seven_bits))}.")
    if found.layers:
        lines.append(f"What saturates, the worst first: {', '.join(_code(layer.name) for layer in found.layers)}.")
    write_atomically(folder / "README.md", "\n\n".join([before, *lines]) + "\n")


def snippet(told: Told) -> str:
    """Lines of Python that run the file, in its own folder."""
    prepared, owned = told.preprocessing, not is_known_code(told.model)
    named = (repr(told.model) if ":" in told.model else "module") if owned else None
    load = lines(told.format, Path(told.file), precision=told.precision, model=named)
    shape = (1, *prepared.input_shape)
    mean, std = (f"np.reshape({list(values)}, (1, -1, 1, 1))" for values in (prepared.mean, prepared.std))
    images = f"images = ((np.zeros({shape}) - {mean}) / {std}).astype(np.float32)  # for zeros, your images in [0, 1]"
    return f"{load}{images}\nprint(predict(images).argmax(1))\n"


def _facts(told: Told, record: RunRecord | None) -> Iterator[str]:
    yield "| | |\n|---|---|"
    yield f"| file | {_code(told.file)}, {told.bytes:,} bytes, SHA-256 {_code(told.sha256)} |"
    yield f"| network | {told.params:,} params, {told.macs:,} MACs an image |"
    if told.images:
        top1, low, high = told.images.score()
        where = _code(told.images.source) if told.images.source else "images given in Python"
        yield f"| top-1 | {_percent(top1)} [{_percent(low)}, {_percent(high)}], n = {told.images.n}, {where} |"
    if record and record.metrics and record.baseline:
        drop, low, high = (100 * x for x in record.drop())
        lost = f"a drop of {drop:+.2f} points [{low:+.2f}, {high:+.2f}], paired"
        yield f"| dense fp32 | {_percent(record.baseline.top1)}: {lost} |"
        yield (
            f"| against dense fp32 | params {both_ways(record.metrics.compression_ratio)}, MACs "
            f"{both_ways(record.macs_ratio())}, bytes {both_ways(record.baseline.bytes / told.bytes)} |"
        )
    if told.lowest_runtime:
        yield f"| read by | {_code(told.lowest_runtime)} and later |"
    versions = told.made_with.get("versions")
    known = versions if isinstance(versions, Mapping) else {}
    named = ", ".join(f"{name} {known[name]}" for name in ("tdq", "torch", "onnxruntime") if name in known)
    yield f"| made with | {_code(named)}, {_code(str(told.made_with.get('cpu', '')))} |"
    if record:
        yield f"| run | `{record.run_id}` ({_code('record.json')}) |"
        weights, licence = (_code(str(record.provenance.get(key))) for key in ("weights", "licence"))
        yield f"| weights | {weights}, licence {licence} |"
    yield "\n95 % intervals; the score was measured on the file, loaded in a process of its own."


def _preparation(told: Told) -> str:
    prepared = told.preprocessing
    size = "x".join(map(str, prepared.input_size))
    how = f"its shorter side is resized to {prepared.resize} px and the centre cut to {size}" if prepared.resize else (
        f"one of another size is resized to {size}"
    )  # fmt: skip
    return f"An image is decoded to RGB (or grey) in [0, 1]; {how}."


def _here(record: RunRecord | None) -> str:
    return ". --data NAME:FOLDER" if record else "."


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _code(text: str) -> str:
    """Text of others as a code span on one line of a table."""
    return f"`{_plain(text).replace('|', '/')}`"


def _plain(text: str) -> str:
    """Text of others that ends no code."""
    return printable(text).replace("`", "'")
