"""`tdq show` and `tdq csv`: what was measured before."""

from pathlib import Path
from typing import Annotated

import typer

from tdq_core.cli.options import JsonFlag
from tdq_core.cli.terminal import both_ways, err, out, percent, print_json, print_table
from tdq_core.records.record import RunRecord
from tdq_core.records.store import RunStore
from tdq_core.records.table import method_text, ranks_text, to_csv
from tdq_core.system.files import write_atomically

ModelFilter = Annotated[str | None, typer.Option("--model", help="Only runs of this model.")]


def show(
    run_id: Annotated[str | None, typer.Argument(help="The run's id or its first digits; none: list all runs.")] = None,
    model: ModelFilter = None,
    as_json: JsonFlag = False,
) -> None:
    """Show one run, or list all of them."""
    if run_id:
        record = RunStore().find(run_id)
        print_json(record.to_dict()) if as_json else print_card(record)
        return
    records = _chosen(model)
    if as_json:
        print_json([record.to_dict() for record in records])
        return
    headers = ("run", "model", "method", "ranks", "precision", "backend", "top-1", "drop", "params", "bytes", "state")
    print_table(headers, [_line(r) for r in records], right=("top-1", "drop", "params", "bytes"))
    out.print(f"\n{len(records)} run{'s' * (len(records) != 1)}.")


def csv(
    output: Annotated[Path | None, typer.Option("--out", help="Write to this file instead of stdout.")] = None,
    model: ModelFilter = None,
) -> None:
    """Every run as one row of CSV, in full precision."""
    text = to_csv(_chosen(model))
    if output is None:
        print(text, end="")
        return
    write_atomically(output, text)
    err.print(f"Written: {output}", markup=False)


def _chosen(model: str | None) -> list[RunRecord]:
    return [r for r in RunStore().all() if model in (None, r.spec.model.name)]


def _line(record: RunRecord) -> tuple[str, ...]:
    spec, metrics = record.spec, record.metrics
    what = (record.run_id[:8], spec.model.name, method_text(spec), ranks_text(spec), spec.precision.name,
            spec.precision.backend)  # fmt: skip
    if metrics is None:
        return (*what, "", "", "", "", record.state)
    measured = (percent(metrics.top1), f"{100 * record.drop()[0]:+.2f}", f"{metrics.params:,}", f"{metrics.bytes:,}")
    return (*what, *measured, record.state)


def print_card(record: RunRecord, *, reused: bool = False) -> None:
    """One run for people: what was asked, what was measured, what was not done."""
    spec = record.spec
    seen = " (measured before: nothing was run again)" if reused else ""
    out.print(f"run {record.run_id}: {record.state}{seen}", markup=False)
    how = " ".join(filter(None, (method_text(spec), ranks_text(spec))))
    out.print(
        f"  {spec.model.name}, {how}, {spec.precision.name} on {spec.precision.backend}, {spec.images.data}",
        markup=False,
    )
    if record.metrics and record.baseline:
        _print_metrics(record)
    for note in record.notes:
        out.print(f"  note: {note}", markup=False)
    _print_layers(record)


def _print_metrics(record: RunRecord) -> None:
    m, base = record.metrics, record.baseline
    assert m and base, "asked of complete runs only"
    drop, low, high = (100 * x for x in record.drop())
    rows = [
        ("top-1", f"{percent(m.top1)}  [{percent(m.top1_low)}, {percent(m.top1_high)}]  n = {m.n}"),
        ("dense fp32", f"{percent(base.top1)}  drop {drop:+.2f} points [{low:+.2f}, {high:+.2f}], paired"),
        ("params", f"{m.params:,}  ({both_ways(m.compression_ratio)})"),
        ("MACs", f"{m.macs:,}  ({both_ways(base.macs / m.macs)})"),
        ("bytes", f"{m.bytes:,}  ({both_ways(record.bytes_ratio())})"),
    ]
    if m.latency:
        q = m.latency
        quartiles = f"[{q.q1_ms:.2f}, {q.q3_ms:.2f}]"
        text = f"{q.median_ms:.2f} ms {quartiles} a batch of {q.batch}, {q.threads} thread{'s' * (q.threads > 1)}"
        rows.append(("latency", text))
    for name, text in rows:
        out.print(f"  {name:<11}{text}", markup=False)


def _print_layers(record: RunRecord) -> None:
    done = [la for la in record.layers if la.method != "none"]
    if done:
        rows = [(f"  {la.name}", la.method, la.ranks_text.replace(" x ", "x"), f"{la.dense_params:,}", f"{la.params:,}",
                 f"{la.rel_error:.4f}") for la in done]  # fmt: skip
        headers = ("  layer", "method", "ranks", "dense params", "params", "rel. error")
        print_table(headers, rows, right=("ranks", "dense params", "params", "rel. error"))
    if record.spec.decomposition:
        for la in record.layers:
            if la.skipped_because:
                out.print(f"  left alone: {la.name}: {la.skipped_because}", markup=False)
