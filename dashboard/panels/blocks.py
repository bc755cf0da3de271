"""Pieces that several pages share: run card, table with download, empty states."""

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NoReturn

import streamlit as st

from dashboard.facts.chance import at_chance
from dashboard.pages import page
from dashboard.panels import tables
from dashboard.shelf import catalog
from dashboard.shelf.catalog import V
from dashboard.shelf.state import fragment, in_address
from dashboard.words import text
from dashboard.words.markup import plain
from tdq_core.prediction.predictor import Prediction
from tdq_core.prediction.track import prediction_of
from tdq_core.records.record import LayerRecord, RunRecord
from tdq_core.records.store import Found, Kind
from tdq_core.records.table import COLUMNS, row, to_csv
from tdq_core.specs import BACKENDS
from tdq_core.specs.choices import RANGES
from tdq_core.specs.command import command_line

if TYPE_CHECKING:
    import pandas as pd

MOST_TOLD = 20
"""Files that a page warns of one by one."""


def found(kind: Kind[V]) -> Found[V]:
    """All values of one kind; files that cannot be read are told in one sentence each, and the rest still works."""
    known = catalog.read(kind)
    tell_left_out(known)
    return known


def tell_left_out(known: Found[V]) -> None:
    """A sentence for each file that cannot be read."""
    for sentence in known.left_out[:MOST_TOLD]:
        st.warning(plain(sentence), icon=":material/broken_image:")
    if (more := len(known.left_out) - MOST_TOLD) > 0:
        st.warning(f"{more} more files cannot be read; they are left out too.", icon=":material/broken_image:")


def link(address: str, label: str, *, icon: str = "", query: Mapping[str, str] | None = None) -> None:
    """A link to another page, about the same subject, with its own icon unless another one is given."""
    there, subject = page(address), in_address("subject")
    named = ({"subject": subject} if subject else {}) | dict(query or {})
    st.page_link(there.file, label=label, icon=icon or there.icon, query_params=named or None)


def nothing_yet(sentence: str) -> NoReturn:
    """An empty page: says why, and what to do next; ends the page."""
    with st.container(border=True):
        st.markdown(f"**{sentence}**")
        st.markdown(
            "Choose a method and ranks on the page **Explore** and press **Run**, "
            "or measure on the command line: `tdq run --help` says how."
        )
        link("explore", "Open Explore", icon=":material/arrow_forward:")
    st.stop()


def download_csv(records: Sequence[RunRecord], name: str, *, key: str) -> None:
    """A button that downloads these runs as CSV, in full precision; it is written when it is asked for."""
    st.download_button(
        f"CSV of {len(records)} run{'s' * (len(records) != 1)}",
        lambda: to_csv(records).encode(),
        f"{name}.csv",
        "text/csv",
        key=key,
        icon=":material/download:",
        on_click="ignore",
    )


RUN_COLUMNS: dict[str, Any] = {
    "run_id": st.column_config.LinkColumn("run", display_text=r"run=(.{8})", help="Opens the run on the page Explore"),
    "latency": st.column_config.TextColumn("time", help="Median of a batch; only equal conditions can be compared"),
    "conditioned": st.column_config.TextColumn(
        "conditioned", help="Ranges balanced and biases corrected before integers; empty: no factors are quantized."
    ),
    "granularity": st.column_config.TextColumn("scale per", help="Of integer weights: output channel, or whole tensor"),
    "ranges": st.column_config.TextColumn("ranges", width=120),
    "quantization_aware": st.column_config.TextColumn("aware", help="Integers found by what layers compute"),
    "bits": st.column_config.TextColumn("bits of weights", help="Empty: those of the precision, the ends' 8"),
    "ranks": st.column_config.TextColumn("ranks", width=150),
    "backend": st.column_config.TextColumn("runs on"),
    "top1": st.column_config.NumberColumn("top-1 (%)", format="%.2f"),
    "drop": st.column_config.NumberColumn("drop (points)", format="%+.2f"),
    "n": st.column_config.NumberColumn("n", format="localized"),
    "params": st.column_config.NumberColumn("params", format="localized"),
    "macs": st.column_config.NumberColumn("MACs", format="localized"),
    "bytes": st.column_config.NumberColumn("file (bytes)", format="localized"),
    "compression_ratio": st.column_config.NumberColumn("param ratio", format="%.2fx"),
    "bytes_ratio": st.column_config.NumberColumn("size ratio", format="%.2fx"),
    "reason": st.column_config.TextColumn("reason", width="large"),
}


def runs_frame(records: Sequence[RunRecord], columns: Sequence[str]) -> "pd.DataFrame":
    """Records as a table for the screen, without columns of which nothing is to be said; shares become percent and
    points."""
    import pandas as pd  # see `tables.show`

    places = [_CELLS.index(name) for name in columns]
    frame = pd.DataFrame([itemgetter(*places)(r.remembered(_table_cells)) for r in records], columns=list(columns))
    for name in ("top1", "drop"):
        if name in frame:
            frame[name] = 100 * frame[name].astype(float)
    for name in {"reason", "granularity", "ranges", "bits"} & set(frame):
        frame[name] = frame[name].fillna("")
    said = [name for name in frame if frame.empty or not frame[name].isin(("", None)).all()]
    return frame[said]


_CELLS = (*COLUMNS, "latency")


def _table_cells(record: RunRecord) -> tuple[Any, ...]:
    said = row(record) | _in_words(record)
    return tuple(said[name] for name in _CELLS)


def _in_words(record: RunRecord) -> dict[str, Any]:
    """What a table shows by the name that it has everywhere else on the pages, and a link to the run."""
    spec = record.spec
    return {
        "method": text.method_label(spec),
        "precision": spec.precision.numbers.label,
        "backend": BACKENDS[spec.precision.backend].label,
        "conditioned": {"conditioned": "yes", "not conditioned": "no"}.get(text.conditioning(spec), ""),
        "ranges": RANGES[spec.precision.ranges].label if spec.quantized else None,
        "quantization_aware": "yes" if spec.precision.quantization_aware else "",
        "bits": text.bits(spec),
        "latency": text.latency(record),
        "run_id": run_address(record.run_id),
    }


def run_address(run_id: str) -> str:
    """Of a run on the page Explore, relative to any page."""
    return f"explore?run={run_id}"


def run_card(record: RunRecord) -> None:
    """One run: what was asked, what was measured, what was not done, and how to get it again."""
    st.markdown(f"**{text.treatment(record.spec)}**")
    if warning := at_chance(record.spec, record.baseline):
        st.warning(plain(warning), icon=":material/casino:")
    if record.state == "complete":
        _numbers(record)
    else:
        reason = plain(text.on_screen(record.reason or ""))
        st.error(f"This run was {_past(record.state)}: {reason}", icon=":material/block:")
    for note in record.notes:
        st.caption(f":material/info: {plain(note)}")
    _layers(record)
    _origin(record)


def _past(state: str) -> str:
    return "refused" if state == "refused" else "not finished"


def _numbers(record: RunRecord) -> None:
    m, base = record.metrics, record.baseline
    assert m and base, "complete"
    drop, low, high = record.drop()
    left, right = st.columns(2)
    left.metric("Top-1 drop (points)", text.points(drop), help="Against the dense FP32 model on the same images.")
    left.caption(f"95 % {text.interval(low, high)}, paired by image")
    right.metric("File size", text.file_size(m.bytes), help="Of the real artefact on disk; 1 MB is a million bytes.")
    right.caption(f"{text.both_ways(record.bytes_ratio())}; dense {text.file_size(base.bytes)}")
    lines = [
        f"**Top-1** {text.percent(m.top1)} [{text.percent(m.top1_low)}, {text.percent(m.top1_high)}], "
        f"n = {m.n:,}; dense {text.percent(base.top1)}",
        f"**Params** {text.count(m.params)}: {text.both_ways(m.compression_ratio)}; dense {text.count(base.params)}",
        f"**MACs per image** {text.count(m.macs)}: {text.both_ways(record.macs_ratio())}; "
        f"dense {text.count(base.macs)}",
    ]
    if foretold := prediction_of(record):
        lines.append(f"**Predicted before** {_foretold(foretold)}")
    if m.latency:
        lines.append(f"**Latency** {text.latency(record)}; quartiles [{m.latency.q1_ms:.2f}, {m.latency.q3_ms:.2f}]")
    st.markdown("  \n".join(lines))


def _foretold(found: Prediction) -> str:
    """The drop as it had been predicted, to hold beside the measured one."""
    if found.drop is None or found.low is None or found.high is None:
        return "nothing: " + plain(found.reason or "")
    return f"{text.points(found.drop)} points, 90\N{NO-BREAK SPACE}% {text.interval(found.low, found.high)}"


def _layers(record: RunRecord) -> None:
    taken = [la for la in record.layers if la.method != "none"]
    bits = sorted({la.bits for la in record.layers if la.bits})
    if not record.layers or (record.spec.decomposition is None and not bits):
        return
    left = len(record.layers) - len(taken)
    _folded_layers(f"Layers: {len(taken)} decomposed, {left} left alone", record)


@fragment
def _folded_layers(label: str, record: RunRecord) -> None:
    """Their table is made when it is asked for."""
    folded = st.expander(label, key=f"layers-{record.run_id}", on_change="rerun")
    if folded.open:
        with folded:
            layers_table(record.layers)


LAYER_COLUMNS: dict[str, Any] = {
    "params": st.column_config.NumberColumn("params", format="localized"),
    "dense": st.column_config.NumberColumn("dense params", format="localized"),
    "error": st.column_config.NumberColumn("relative error", format="%.4f", help="|W − W~| / |W|, Frobenius norm"),
    "bits": st.column_config.NumberColumn("bits", help="Of its weights"),
    "before": st.column_config.NumberColumn(
        "spread before", format="%.1f", help="Largest over median range of the channels inside the layer"
    ),
    "after": st.column_config.NumberColumn("spread after", format="%.1f", help="The same, conditioned"),
    "why": st.column_config.TextColumn("left alone because"),
}


def layers_table(layers: Sequence[LayerRecord]) -> None:
    """Ranks, sizes and errors of a run's layers."""
    rows = [
        {
            "layer": la.name,
            "ranks": la.ranks_text,
            "dense": la.dense_params,
            "params": la.params,
            "error": la.rel_error,
            **({"bits": la.bits} if la.bits else {}),
            **_spreads(la),
            "why": la.skipped_because or "",
        }
        for la in layers
    ]
    tables.show(rows, LAYER_COLUMNS)


def _spreads(layer: LayerRecord) -> dict[str, float]:
    """The worse spread of the activations inside a layer, where it was conditioned."""
    return {
        when: max(layer.detail[f"spread_{when}"]) for when in ("before", "after") if f"spread_{when}" in layer.detail
    }


def _origin(record: RunRecord) -> None:
    with st.expander("Reproduce, and where the numbers come from"):
        st.code(command_line(record.spec), language=None, wrap_lines=True)
        known = record.provenance
        facts = [
            ("Run", record.run_id),
            ("Images", f"{known.get('split')}, n = {known.get('n')}"),
            ("Calibration", f"{known['calib_split']}, n = {known['calib_n']}" if known.get("calib_split") else "none"),
            ("Weights", known.get("weights")),
            ("Measured", known.get("time")),
            ("Machine", f"{known.get('cpu')}, {known.get('threads')} threads, {' '.join(known.get('cpu_flags', ()))}"),
            ("Versions", ", ".join(f"{k} {v}" for k, v in (known.get("versions") or {}).items())),
        ]
        st.markdown("\n".join(f"- {name}: {plain(value)}" for name, value in facts if value))
        st.download_button(
            "Record as JSON",
            record.to_json(),
            f"{record.run_id}.json",
            "application/json",
            key=f"json-{record.run_id}",
            icon=":material/download:",
            on_click="ignore",
        )
