"""`tdq show` and `tdq csv`: what was measured before."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from tdq_core.cli.options import JsonFlag
from tdq_core.cli.terminal import both_ways, complain, percent, say, say_csv, say_json, say_table, tell
from tdq_core.prediction.track import in_words, prediction_of
from tdq_core.records.record import RunRecord
from tdq_core.records.store import RunStore
from tdq_core.records.table import method_text, numbers_text, ranks_text, to_csv
from tdq_core.system.files import require_file, user_path, write_atomically

ModelFilter = Annotated[str | None, typer.Option("--model", help="Only runs of this model.")]


def show(
    run_id: Annotated[str | None, typer.Argument(help="The run's id or its first digits; none: list all runs.")] = None,
    model: ModelFilter = None,
    as_json: JsonFlag = False,
) -> None:
    """Show one run, or list all of them."""
    if run_id:
        record = RunStore().find(run_id)
        say_json(record.to_dict()) if as_json else print_card(record)
        return
    records, told = chosen(model)
    _list(records, as_json)
    end(told)


def _list(records: Sequence[RunRecord], as_json: bool) -> None:
    if as_json:
        say_json([record.to_dict() for record in records])
        return
    headers = ("run", "model", "method", "ranks", "precision", "backend", "top-1", "drop", "params", "bytes", "state")
    say_table(headers, [_line(r) for r in records], right=("top-1", "drop", "params", "bytes"))
    say("", f"{len(records)} run{'s' * (len(records) != 1)}.")


def csv(
    output: Annotated[Path | None, typer.Option("--out", help="Write to this file instead of stdout.")] = None,
    model: ModelFilter = None,
) -> None:
    """Every run as one row of CSV, in full precision."""
    if output is not None:
        output = user_path(output)
        require_file(output)
    records, told = chosen(model)
    if output is None:
        say_csv(to_csv(records))
    else:
        write_atomically(output, to_csv(records))
        tell(f"Written: {output}")
    end(told)


def chosen(model: str | None) -> tuple[list[RunRecord], tuple[str, ...]]:
    """The runs of a model, or all; and a sentence for each file that was left out."""
    found = RunStore().found()
    return [r for r in found.values if model in (None, r.spec.model.name)], found.left_out


def end(told: Sequence[str]) -> None:
    """What was left out is said, and in the exit code too: what was listed is not all that is there."""
    for sentence in told:
        complain(sentence)
    if told:
        raise typer.Exit(1)


def _line(record: RunRecord) -> tuple[str, ...]:
    spec, metrics = record.spec, record.metrics
    what = (record.run_id[:8], spec.model.name, method_text(spec), ranks_text(spec), numbers_text(spec),
            spec.precision.backend)  # fmt: skip
    if metrics is None:
        return (*what, "", "", "", "", record.state)
    measured = (percent(metrics.top1), f"{100 * record.drop()[0]:+.2f}", f"{metrics.params:,}", f"{metrics.bytes:,}")
    return (*what, *measured, record.state)


def print_card(record: RunRecord, *, reused: bool = False) -> None:
    """One run for people: what was asked, what was measured, what was not done."""
    spec = record.spec
    seen = " (measured before: nothing was run again)" if reused else ""
    say(f"run {record.run_id}: {record.state}{seen}")
    how = " ".join(filter(None, (method_text(spec), ranks_text(spec))))
    say(
        f"  {spec.model.name}, {how}, {numbers_text(spec)} on {spec.precision.backend}, {spec.images.data}",
    )
    if record.metrics and record.baseline:
        _print_metrics(record)
    for note in record.notes:
        say(f"  note: {note}")
    _print_layers(record)


def _print_metrics(record: RunRecord) -> None:
    m, base = record.metrics, record.baseline
    assert m and base, "asked of complete runs only"
    drop, low, high = (100 * x for x in record.drop())
    rows = [
        ("top-1", f"{percent(m.top1)}  [{percent(m.top1_low)}, {percent(m.top1_high)}]  n = {m.n}"),
        ("dense fp32", f"{percent(base.top1)}  drop {drop:+.2f} points [{low:+.2f}, {high:+.2f}], paired"),
        ("params", f"{m.params:,}  ({both_ways(m.compression_ratio)})"),
        ("MACs", f"{m.macs:,}  ({both_ways(record.macs_ratio())})"),
        ("bytes", f"{m.bytes:,}  ({both_ways(record.bytes_ratio())})"),
    ]
    if m.latency:
        q = m.latency
        quartiles = f"[{q.q1_ms:.2f}, {q.q3_ms:.2f}]"
        text = f"{q.median_ms:.2f} ms {quartiles} a batch of {q.batch}, {q.threads} thread{'s' * (q.threads > 1)}"
        rows.append(("latency", text))
    if before := prediction_of(record):
        rows.append(("predicted", f"{in_words(before)} Said before it was measured."))
    for name, text in rows:
        say(f"  {name:<11}{text}")


def _print_layers(record: RunRecord) -> None:
    done = [la for la in record.layers if la.method != "none"]
    by_layer = record.spec.precision.bits != "same"
    if done:
        rows = [(f"  {la.name}", la.method, la.ranks_text.replace(" x ", "x"), f"{la.dense_params:,}", f"{la.params:,}",
                 f"{la.rel_error:.4f}", *[str(la.bits or "")] * by_layer) for la in done]  # fmt: skip
        numbers = ("ranks", "dense params", "params", "rel. error", *["bits"] * by_layer)
        say_table(("  layer", "method", *numbers), rows, right=numbers)
    if record.spec.decomposition:
        for la in record.layers:
            if la.skipped_because:
                bits = f" ({la.bits} bits)" if by_layer and la.bits else ""
                say(f"  left alone: {la.name}{bits}: {la.skipped_because}")
    elif by_layer:
        say_table(("  layer", "bits"), [(f"  {la.name}", str(la.bits or "")) for la in record.layers], right=("bits",))
