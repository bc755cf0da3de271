"""Sweep files of any content: each is a grid or one sentence, never a traceback, never a wait.

    python -m benchmarks.sweep_files [--files 20000] [--seed 0]

Prints how many of each kind were read, how they ended, and the slowest; exit code 1 where one ended otherwise. What
ended otherwise is printed whole, so that it can be kept as a test.
"""

import argparse
import json
import random
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from tdq_core.errors import InputError
from tdq_core.specs.choices import PRESETS
from tdq_core.sweeps.grid import Grid, grid_of
from tdq_core.sweeps.spec import GRID, options, parse_sweep

SECONDS = 5.0
"""That one file may take at most, on a machine that is busy."""
_PLAIN = (
    "digits",
    "digits_resnet",
    "cp",
    "tucker2",
    "int8",
    "",
    " ",
    "none",
    "w4a8",
    "global",
    "\n",
    "\u202e",
    "\0",
    "é",
)
_OFTEN = ("method", "ratio", "precision", "seed", "samples", "policy", "budget", "latency")
_USUAL: Mapping[str, tuple[Any, ...]] = {
    "model": ("digits_resnet", "m.py:net"), "data": ("digits", "folder:there"), "calib": ("digits",),
    "method": ("cp", "tucker2", "svd"), "ratio": (1.5, 2, 3.25), "energy": (0.9,), "ranks": ({"c": 3}, {"a.b": [2, 3]}),
    "mean": ([0.5],), "std": ([0.5],), "input_size": ([32, 32], "64x48"), "opset": (17,), "depth": (1.0, 4),
}  # fmt: skip
_NUMBERS = (0, 1, -1, 2, 3.0, 0.5, 1e308, -0.0, 5e-324, 2**31, 2**63, 2**64, 10**30, float("inf"), float("nan"), 8, 512)


def outcome(text: str) -> Grid | str:
    """The runs of a file, or the sentence that it ends with.

    Raises:
        AssertionError: the sentence is none; or whatever else it ends with.
    """
    begun = time.perf_counter()
    found: Grid | str
    try:
        found = grid_of(parse_sweep(text, "The sweep file 'any.toml'"))
    except InputError as error:
        found = str(error)
        assert found.startswith("The sweep file 'any.toml'") and "\n" not in found and len(found) < 4000, found
    took = time.perf_counter() - begun
    assert took < SECONDS, f"{took:.1f} s"
    return found


def toml(value: Any) -> str:
    """A plain value as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_quoted(name)} = {toml(each)}" for name, each in value.items()) + " }"
    return "[" + ", ".join(map(toml, value)) + "]"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def document(table: Mapping[str, Any]) -> str:
    """A table as a TOML file."""
    return "".join(f"{_quoted(name)} = {toml(value)}\n" for name, value in table.items())


def fitting(chance: random.Random, key: str) -> Any:
    """A value that may suit this option."""
    field = options()[key]
    if field is None:
        return chance.choice([*PRESETS])
    if key in _USUAL:
        return chance.choice(_USUAL[key])
    if field.option.choices:
        return chance.choice([c for c in field.option.choices() if c is not None])
    if field.kind is bool:
        return chance.random() < 0.5
    return chance.choice((2, 3, 64, 0.5, "x"))


def anything(chance: random.Random, depth: int = 0) -> Any:
    """Any value that TOML can hold."""
    kind = chance.randrange(8 if depth < 3 else 5)
    if kind < 2:
        return chance.choice(_NUMBERS)
    if kind < 4:
        return chance.choice(_PLAIN)
    if kind == 4:
        return chance.random() < 0.5
    if kind < 7:
        return [anything(chance, depth + 1) for _ in range(chance.randrange(4))]
    return {chance.choice((*_PLAIN, *options(), GRID)): anything(chance, depth + 1) for _ in range(chance.randrange(4))}


def likely(chance: random.Random, depth: int = 0) -> dict[str, Any]:
    """A table that may well be a sweep: options with values that suit them, tables in it."""
    keys = chance.sample(_OFTEN if chance.random() < 0.7 else sorted(options()), chance.randrange(1, 5))
    table = {key: fitting(chance, key) for key in keys}
    for key in keys:
        if chance.random() < 0.3:
            table[key] = [fitting(chance, key) for _ in range(chance.randrange(1, 4))]
    if depth == 0:
        table |= {"model": "digits_resnet", "data": "digits", "method": "cp", "ratio": [2, 3]}
    if depth < 3 and chance.random() < 0.4:
        table[GRID] = [likely(chance, depth + 1) for _ in range(chance.randrange(1, 4))]
    return table


def spoilt(chance: random.Random) -> str:
    """A likely file with one value exchanged for any other."""
    table = likely(chance)
    place = table
    while chance.random() < 0.5 and isinstance(place.get(GRID), list):
        place = chance.choice(place[GRID])
    place[chance.choice([*place, GRID, "metod"])] = anything(chance)
    return document(table)


def scratched(chance: random.Random) -> str:
    """A likely file with some characters exchanged, doubled or left out."""
    text = list(document(likely(chance)))
    for _ in range(chance.randrange(1, 3)):
        at = chance.randrange(len(text))
        text[at] = chance.choice(["", text[at] * 2, "\0", '"', "[", "]", "{", "=", "\n", "9", "é", "#", "\r"])
    return "".join(text)


def noise(chance: random.Random) -> str:
    """Any characters, or brackets without end."""
    if chance.random() < 0.2:
        return "a = " + chance.choice("[{") * chance.randrange(1, 3000)
    return "".join(map(chr, (chance.randrange(1, 0xD800) for _ in range(chance.randrange(200)))))


KINDS: dict[str, Callable[[random.Random], str]] = {
    "likely": lambda chance: document(likely(chance)), "spoilt": spoilt, "scratched": scratched, "noise": noise,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    ended: Counter[str] = Counter()
    slowest, bad = 0.0, 0
    for number in range(asked.files):
        kind = [*KINDS][number % len(KINDS)]
        text = KINDS[kind](random.Random(f"{asked.seed}-{number}"))
        begun = time.perf_counter()
        try:
            ended[f"{kind}: {'a sentence' if isinstance(outcome(text), str) else 'a grid'}"] += 1
        except Exception:
            bad += 1
            print(f"{kind} {number}:\n{text!r}\n{traceback.format_exc()}")
        slowest = max(slowest, time.perf_counter() - begun)
    for name, count in sorted(ended.items()):
        print(f"{name:24}{count:7,}")
    print(f"{asked.files:,} files, {bad} ended otherwise; the slowest took {slowest:.2f} s")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
