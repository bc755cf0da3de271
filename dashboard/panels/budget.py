"""Measured runs answer first: the smallest or fastest that keeps a budget, with its command and a link to it."""

from collections.abc import Callable

import streamlit as st

from dashboard.facts.budget import (
    MB,
    MOST_ROWS,
    Answer,
    Budget,
    Conditions,
    Judged,
    conditions_text,
    rows,
    speed_words,
    timed_under,
    verdict_words,
)
from dashboard.facts.subject import Subject
from dashboard.panels import blocks, tables
from dashboard.panels.controls import side_by_side
from dashboard.shelf import catalog
from dashboard.shelf.state import choice, flag, number
from dashboard.words import text
from dashboard.words.glossary import meaning
from dashboard.words.speed import verdicts
from tdq_core.pipeline.speed.record import SPEEDS
from tdq_core.specs.command import command_line
from tdq_core.stats.verdict import Verdict

_COLUMNS = {
    "what it is": st.column_config.TextColumn(width=260),
    "MB": st.column_config.NumberColumn(format="%.3f"),
    "smaller": st.column_config.NumberColumn(format="%.2fx"),
    "drop where chosen": st.column_config.NumberColumn(format="%+.2f", help="Points, on the half that chooses"),
    "drop on the others": st.column_config.TextColumn(help="Points, 95 % interval, paired by image"),
    "time": st.column_config.TextColumn(width=210),
    "verdict": st.column_config.TextColumn(help=meaning("Verdict")),
    "run": st.column_config.LinkColumn("run", display_text=r"run=(.{8})"),
}
_WISHES = {"smallest": "smallest file", "fastest": "fastest batch"}
_BOX: dict[Verdict, Callable[..., object]] = {
    Verdict.SHOWN: st.success,
    Verdict.CONSISTENT: st.info,
    Verdict.MISSED: st.warning,
}


def choose_budget(subject: Subject) -> Budget:
    """How much may be lost, how large the file may be, and what is best."""
    timed = timed_under(subject.runs)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        points = st.number_input(
            "Drop at most (points)", 0.1, 99.0, step=0.5, format="%.2f", width=190, help=meaning("Drop"),
            **number("points", 1.0, 0.1, 99.0),
        )  # fmt: skip
        megabytes = st.number_input(
            "File at most (MB)", 0.001, None, value=None, step=0.5, format="%.3f", width=190, placeholder="any",
            help="1 MB is a million bytes.", **number("megabytes", None, 0.001, 1e6),
        )  # fmt: skip
        wish = side_by_side("Best is the", _WISHES, choice("wish", list(_WISHES))) if timed else "smallest"
        under = _conditions(timed) if wish == "fastest" else None
        simulated = _any_simulated(subject) and st.toggle(
            "Few bits too", **flag("simulated", False),
            help="Packed weights of 2 to 8 bits: files of that size, computed in floats, by TDQ alone.",
        )  # fmt: skip
    return Budget(points, megabytes, under, simulated)


def _any_simulated(subject: Subject) -> bool:
    return any(record.spec.precision.numbers.simulated for record in subject.runs)


def _conditions(timed: dict[Conditions, int]) -> Conditions:
    """Latencies are compared under equal conditions only."""
    by_name = {conditions_text(under): under for under in timed}
    told = {name: f"{name}: {timed[under]} runs" for name, under in by_name.items()}
    named = list(by_name)
    return by_name[st.selectbox("Timed with", named, format_func=told.__getitem__, width=430, **choice("timed", named))]


def show_answer(subject: Subject, budget: Budget) -> None:
    """The best measured run in MB, its drop and verdict, how to get it, and the next best."""
    found = catalog.answer(subject, budget)
    if found.best is None:
        _none(found, budget)
        return
    best = found.best
    with st.container(border=True):
        _headline(best, budget, subject)
    how = "One half of the images chooses: a run counts where its drop stays within the bound with 90 % confidence."
    st.caption(f"The best of {found.looked_at} measured runs. {how} The other half judges.")
    with st.expander(f"The next best: {len(found.others)} more runs keep it", expanded=bool(found.others)):
        best_first = rows([best, *found.others][:MOST_ROWS])
        tables.show([row | {"run": blocks.run_address(row["run"])} for row in best_first], _COLUMNS)


def _headline(best: Judged, budget: Budget, subject: Subject) -> None:
    record, chosen = best.record, best.pick
    st.markdown(f"**{text.treatment(record.spec)}**")
    one, two, three = st.columns(3)
    one.metric("File size", text.file_size(chosen.bytes), help="Of the real file on disk; 1 MB is a million bytes.")
    one.caption(
        f"{text.both_ways(chosen.bytes_ratio)}; dense {text.file_size(round(chosen.bytes * chosen.bytes_ratio))}"
    )
    two.metric("Drop (points)", text.points(chosen.verified_drop[0]), help=meaning("Drop"))
    two.caption(f"95 % {text.interval(*chosen.verified_drop[1:])}, paired, on {best.images:,} images")
    three.metric("Verdict", str(best.verdict), help=meaning("Verdict"))
    three.caption(f"where it was chosen: {text.points(chosen.chosen_drop[0])}")
    _BOX[best.verdict](verdict_words(best, budget))
    speed = catalog.read(SPEEDS).get(record.run_id)
    told = verdicts(speed, record) if speed else [speed_words(record, subject.runs)]
    st.markdown("\n".join(f"- {sentence}" for sentence in told))
    st.code(command_line(record.spec), language=None, wrap_lines=True)
    blocks.link("explore", "This run on the page Explore: layers, export, time", query={"run": record.run_id})


def _none(found: Answer, budget: Budget) -> None:
    size = f" in at most {budget.megabytes:g} MB" if budget.megabytes else ""
    st.warning(
        f"None of {found.looked_at} measured runs{size} is sure enough to lose at most {budget.points:g} "
        f"point{'s' * (budget.points != 1)}, judged on one half of the images.",
        icon=":material/search_off:",
    )
    if found.nearest is None:
        return
    near = found.nearest
    st.markdown(
        f"The nearest is **{text.treatment(near.record.spec)}** with {near.pick.bytes / MB:.2f} MB: it loses "
        f"{text.points(near.pick.chosen_drop[0])} points {text.interval(*near.pick.chosen_drop[1:])} there, and "
        f"{text.points(near.pick.verified_drop[0])} {text.interval(*near.pick.verified_drop[1:])} on the other half."
    )
    blocks.link("explore", "This run on the page Explore", query={"run": near.record.run_id})
