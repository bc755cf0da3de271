"""One recipe: choose it or ask for it, and read what was found."""

from collections.abc import Callable

import pandas as pd
import streamlit as st

from dashboard.facts.subject import same_subject
from dashboard.figures.recipe import recipe_figure
from dashboard.panels import blocks
from dashboard.panels.controls import MOST_STEPS
from dashboard.panels.jobs import submit
from dashboard.shelf.catalog import Runs
from dashboard.shelf.offers import Offers
from dashboard.shelf.state import choice, number, record_choice, take_next
from dashboard.words.markup import plain
from dashboard.words.recipe import command, recipe_label, rows
from tdq_core.jobs.queue import Request
from tdq_core.recipes.choices import Pick, verdict_on
from tdq_core.recipes.report import RECIPES, Report
from tdq_core.recipes.target import Target, parse_target
from tdq_core.specs import RunSpec
from tdq_core.stats.verdict import Verdict

_COLUMNS = {
    "param ratio": st.column_config.NumberColumn(format="%.2fx"),
    "file": st.column_config.NumberColumn("file (bytes)", format="localized"),
    "size ratio": st.column_config.NumberColumn(format="%.2fx"),
    "drop": st.column_config.NumberColumn("drop (points)", format="%+.2f", help="On the images that choices look at"),
    "drop on the others": st.column_config.TextColumn(help="Points, 95 % interval, paired by image"),
    "latency": st.column_config.NumberColumn("latency (ms)", format="%.2f", help="Median of a batch of 16 or fewer"),
}
KIND_LABELS = {"drop": "a drop of at most", "ratio": "a file smaller by at least", "latency": "a batch within"}
LIMITS = {"drop": (1.0, 0.1, 99.0, "points"), "ratio": (4.0, 1.1, 1000.0, "x"), "latency": (5.0, 0.01, 1e6, "ms")}
"""Of each kind: default, smallest, largest, unit."""


def choose_recipe(subject: RunSpec, offers: Offers) -> Report | None:
    """The recipe for this model and these images that is looked at; where there is none, how to get one."""
    own = {r.recipe_id: r for r in blocks.found(RECIPES).values if same_subject(r.spec, subject)}
    if not own:
        with st.container(border=True):
            samples, data = subject.images.samples, subject.images.data
            images = f"{samples:,} images of {data}" if samples else data
            what = f"{plain(subject.model.name)} on {plain(images)}"
            st.markdown(f"**No recipe has been asked for {what} yet.**")
            st.markdown("Choose a target and press **Run**: some fifteen models are built and measured.")
            _ask(subject, offers)
        return None
    if (made := take_next("recipe")) in own:
        st.session_state["recipe"] = made
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    chosen = left.selectbox(
        "Target", list(own), format_func=lambda i: recipe_label(own[i]), **record_choice("recipe", list(own))
    )
    with right.popover("Another target", icon=":material/add:"):
        _ask(subject, offers)
    return own[chosen]


def _ask(subject: RunSpec, offers: Offers) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        kind = st.selectbox(
            "Find", list(KIND_LABELS), format_func=KIND_LABELS.__getitem__, width=230,
            **choice("target", list(KIND_LABELS)),
        )  # fmt: skip
        default, low, high, unit = LIMITS[kind]
        limit = st.number_input(
            unit, low, high, step=0.1, format="%.2f", width=150, **number(f"limit_{kind}", default, low, high)
        )
        steps = st.number_input(
            "Fine-tuning steps", 0, MOST_STEPS, step=100, width=170,
            help="For TDQ's own pipelines, each ratio anew: 0 is quick. Distillation, without labels.",
            **number("recipe_steps", 0, 0, MOST_STEPS),
        )  # fmt: skip
        if st.button("Run", type="primary", icon=":material/play_arrow:"):
            target = Target.of(kind, limit).text
            submit(Request(kind="recipe", spec=subject, allowed_models=offers.allowed, target=target, finetune=steps))
            st.rerun()


def show_recipe(report: Report, runs: Runs) -> None:
    """Sentences, chart and table of everything that was tried, then the run that was chosen."""
    first, *others = report.sentences
    _box(report)(plain(first), icon=":material/checklist:")
    st.markdown("\n".join(f"- {plain(sentence)}" for sentence in others))
    left, right = st.columns([3, 2], gap="medium")
    with left:
        st.plotly_chart(recipe_figure(report), key="recipe_chart", config={"displaylogo": False})
        st.caption(
            f"Filled: on the {report.n_choose:,} images that choices look at. Hollow: on the {report.n_verify:,} "
            "others, with 95 % intervals. Upper right is better; the ring marks what was chosen."
        )
    with right:
        _card(report.chosen or report.alternatives[0], runs)
    frame = pd.DataFrame(rows(report))
    st.dataframe(frame, hide_index=True, column_config=_COLUMNS)
    st.download_button(
        "Report as JSON", report.to_json(), f"{report.recipe_id}.json", "application/json",
        icon=":material/download:", on_click="ignore",
    )  # fmt: skip
    with st.expander("Ask again on the command line"):
        st.code(command(report), language="bash", wrap_lines=True)


def _box(report: Report) -> Callable[..., object]:
    """Green where the images that no choice looked at show that the target is met."""
    if report.chosen is None:
        return st.warning
    found = verdict_on(report.chosen, parse_target(report.target))
    return {Verdict.SHOWN: st.success, Verdict.CONSISTENT: st.info, Verdict.MISSED: st.warning}[found]


def _card(pick: Pick, runs: Runs) -> None:
    with st.container(border=True):
        if record := runs.get(pick.run_id):
            blocks.run_card(record)
        else:
            st.markdown(f"The record of run {plain(pick.run_id)} is not in `runs/` any more: ask again to measure it.")
