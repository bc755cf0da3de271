"""Timings in words and rows."""

from collections.abc import Iterator

from dashboard.words.markup import plain
from tdq_core.pipeline.speed.record import Profile, Race, Ratio, Speed
from tdq_core.records.record import RunRecord
from tdq_core.specs.precision import BACKENDS, PRECISIONS

Row = dict[str, object]


def verdicts(speed: Speed, record: RunRecord) -> list[str]:
    """A sentence for each race against the dense model at the same numbers."""
    smaller = record.metrics is not None and record.metrics.compression_ratio > 1
    return [_sentence(race, *nearest, smaller=smaller) for race in speed.races if (nearest := _nearest(race))]


def _nearest(race: Race) -> tuple[str, Ratio] | None:
    """The rival at the same numbers, else the first."""
    return next(iter(race.ratios.items()), None)


def _sentence(race: Race, rival: str, ratio: Ratio, *, smaller: bool) -> str:
    threads = f"{race.threads} thread{'s' * (race.threads > 1)}"
    where = f"{BACKENDS[race.backend].label}, {PRECISIONS[race.precision].label}, batch {race.batch}, {threads}"
    said = {
        "faster": "faster",
        "slower": "**smaller but slower**" if smaller else "slower",
        "cannot tell": "nobody can tell, the spread is too wide",
    }[ratio.verdict]
    times = f"{ratio.median:.2f}x as fast as {plain(rival)} [{ratio.low:.2f}, {ratio.high:.2f}]"
    return f"{where}: {race.run.median_ms:.2f} ms, {times}: {said}"


def taken(speed: Speed) -> str:
    """How they were timed."""
    if all(race.settled for race in speed.races):
        return "Each was timed after calls of its own, as in a program that goes on calling it, in turn with others."
    return ("Each was timed right after a call of another network, which had taken the caches: TDQ before 0.20 did so. "
            "Small networks are faster than that; time it again.")  # fmt: skip


def race_rows(speed: Speed) -> list[Row]:
    """One row a rival."""
    return [row for race in speed.races for row in _rows_of(race)]


def _rows_of(race: Race) -> Iterator[Row]:
    own: Row = {
        "runs on": BACKENDS[race.backend].label, "numbers": PRECISIONS[race.precision].label, "batch": race.batch,
        "threads": race.threads, "ms": race.run.median_ms,
    }  # fmt: skip
    spread: Row = {"q1": race.run.q1_ms, "q3": race.run.q3_ms, "rounds": race.rounds}
    if not race.ratios:
        yield own | spread
    for name, ratio in race.ratios.items():
        yield own | {
            "against": name, "its ms": race.rivals[name].median_ms, "times as fast": ratio.median,
            "verdict": ratio.verdict, "low": ratio.low, "high": ratio.high, **spread,
        }  # fmt: skip


def layer_rows(told: Profile) -> list[Row]:
    """One row a layer, then one a kind of operator outside of all layers."""
    layers: list[Row] = [
        {
            "layer": la.name, "method": "" if la.method == "none" else la.method, "dense ms": la.dense_ms, "ms": la.ms,
            "verdict": la.verdict, "dense MACs": la.dense_macs, "MACs": la.macs, "dense params": la.dense_params,
            "params": la.params, "dense bytes": la.dense_bytes, "bytes": la.bytes,
        }
        for la in told.layers
    ]  # fmt: skip
    kinds = sorted({*told.rest, *told.dense_rest}, key=lambda kind: -told.rest.get(kind, 0.0))
    rest: list[Row] = [
        {"layer": f"({kind})", "dense ms": told.dense_rest.get(kind, 0.0), "ms": told.rest.get(kind, 0.0)}
        for kind in kinds
    ]
    return layers + rest


def told_time(ns: int, dense_ns: int, conditions: str) -> str:
    """What a plan is told to take, in Markdown."""
    ratio = dense_ns / ns
    against = f"{ratio:.2f}x as fast as" if ratio >= 1 else f"**slower** than, {1 / ratio:.2f}x the time of,"
    return f"**Latency**, told: {ns / 1e6:.3g} ms a call, {against} dense (ONNX Runtime here, {conditions})"
