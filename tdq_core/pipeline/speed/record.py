"""What was timed, as a file beside the run's record. No torch here."""

import json
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from tdq_core.errors import InputError
from tdq_core.records.bounds import Amount, Id, Named, Natural, Positive
from tdq_core.records.record import Kept, read_kept, require_schema
from tdq_core.records.store import Kind
from tdq_core.specs.option import require_choice
from tdq_core.specs.precision import BACKENDS, PRECISIONS

SCHEMA = 1
Verdict = Literal["faster", "slower", "cannot tell"]
LayerVerdict = Literal["", "smaller but slower"]


class Timing(Kept, frozen=True):
    """Milliseconds of one call: median and quartiles over the rounds."""

    median_ms: Amount
    q1_ms: Amount
    q3_ms: Amount


class Ratio(Kept, frozen=True):
    """How many times as fast as a rival, round by round: the median, its 95 % interval, the quartiles of the rounds.

    The rounds are paired: both were timed one right after the other, so that what else ran on the machine slowed both.
    """

    median: Amount
    low: Amount
    high: Amount
    q1: Amount
    q3: Amount

    @property
    def verdict(self) -> Verdict:
        """'cannot tell' where the interval holds 1: the spread is too wide."""
        if self.low > 1:
            return "faster"
        return "slower" if self.high < 1 else "cannot tell"


class Race(Kept, frozen=True):
    """One setting: the run and its rivals, in turn.

    Attributes:
        backend: what ran them; precision: of the run there; batch: images a call; threads: of the runtime.
        rounds: in which each was timed once, after the warm-up.
        run: of the run itself; rivals: by name, and how many times as fast as each the run is.
        settled: whether what is timed follows calls of its own; before TDQ 0.20 it followed one of another network,
            which had taken the caches.
    """

    backend: Named
    precision: Named
    batch: Positive
    threads: Positive
    rounds: Positive
    run: Timing
    rivals: Mapping[str, Timing]
    ratios: Mapping[str, Ratio]
    settled: bool = False


class LayerTime(Kept, frozen=True):
    """One layer, dense and as it is in the run.

    Attributes:
        dense_ms, ms: medians over profiled passes; None: the runtime's operators could not be told apart there.
        ratio: how many times as fast as dense, pass by pass; None: as those.
        params, macs, bytes: of the run's; dense_ they of the dense model at the same precision; bytes of the weights.
        parts: by sub-layer, its milliseconds.
    """

    name: Named
    method: str
    dense_ms: Amount | None
    ms: Amount | None
    ratio: Ratio | None
    dense_params: Natural
    params: Natural
    dense_macs: Natural
    macs: Natural
    dense_bytes: Natural
    bytes: Natural
    parts: Mapping[str, Amount]

    @property
    def verdict(self) -> LayerVerdict:
        """Whether it has fewer params and takes longer, beyond the spread."""
        slower = self.ratio is not None and self.ratio.verdict == "slower"
        return "smaller but slower" if slower and self.params < self.dense_params else ""


class Profile(Kept, frozen=True):
    """Where the time of one batch goes in ONNX Runtime, on one thread.

    Attributes:
        layers: in the order of the network; rest: milliseconds of all other operators by their kind, of the run, and
            dense_rest of the dense model.
    """

    precision: Named
    batch: Positive
    passes: Positive
    layers: tuple[LayerTime, ...]
    rest: Mapping[str, Amount]
    dense_rest: Mapping[str, Amount]


class Speed(Kept, frozen=True):
    """All that was timed of one run.

    Attributes:
        load: the machine's load average before the first call: what else ran.
        machine: CPU, flags and versions.
        notes: what was not timed, and why.
    """

    run_id: Id
    races: tuple[Race, ...]
    profile: Profile | None
    load: Amount
    machine: Mapping[str, Any]
    time: str
    notes: tuple[str, ...] = ()
    schema: Literal[1] = 1

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=1, allow_nan=False)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Speed":
        """The inverse of `to_json`; InputError where it is none."""
        require_schema(plain, SCHEMA, "timings")
        speed = read_kept(plain, cls, f"timings of schema {SCHEMA}")
        for race in speed.races:
            require_choice("backend", race.backend, BACKENDS)
            require_choice("precision", race.precision, PRECISIONS)
            if race.ratios.keys() != race.rivals.keys():
                raise InputError(f"This is not timings of schema {SCHEMA}: its ratios are not those of its rivals.")
        return speed


SPEEDS = Kind("timing", "time the run again (tdq bench)", "speed", lambda speed: speed.run_id, Speed.from_dict)
"""One JSON file a run, under the run's own id; a later timing replaces an earlier one."""
