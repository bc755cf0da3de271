"""The track record of predictions: what had been predicted of runs before they were measured."""

from collections.abc import Sequence
from typing import Any

import streamlit as st

from dashboard.figures.rows import track_rows
from dashboard.figures.track import track_figure
from dashboard.panels import charts, tables
from tdq_core.prediction.track import Kept, by_group, kept, score
from tdq_core.records.record import RunRecord
from tdq_core.specs.variant import variant_of


def track_record(records: Sequence[RunRecord]) -> None:
    """Predicted against measured; nothing where none of the runs had been predicted."""
    runs = kept(records)
    if not runs:
        return
    st.subheader("Predictions against measurements", anchor=False)
    found = score(runs)
    st.markdown(
        f"Of {found.runs} runs the drop had been predicted before it was measured: mean absolute error "
        f"**{100 * found.error:.2f} points**, **{found.covered:.0%}** within the 90 % interval"
        + (f", rank correlation {found.tau:.2f} (Kendall's tau)." if found.tau is not None else ".")
    )
    charts.draw(track_figure(runs), "track", "Drops, predicted and measured", lambda: track_rows(runs))
    tables.show([_row(name, own) for name, own in sorted(by_group(runs).items())])
    st.caption("`tdq predict --score` says the same. A prediction is kept with its run, and never made afterwards.")


def _row(name: tuple[str, str, str], runs: Sequence[Kept]) -> dict[str, Any]:
    found = score(runs)
    model, _, _ = name
    return {
        "network": model,
        "method": variant_of(runs[0].record.spec).label,
        "precision": runs[0].record.spec.precision.numbers.label,
        "runs": found.runs,
        "mean error, points": round(100 * found.error, 2),
        "within 90 %": f"{found.covered:.0%}",
        "Kendall's tau": "" if found.tau is None else f"{found.tau:.2f}",
    }
