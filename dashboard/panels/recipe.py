"""One recipe: choose it or ask for it, and read what was found."""

from collections.abc import Callable

import streamlit as st

from dashboard.facts.budget import speed_words
from dashboard.facts.subject import Subject, belongs
from dashboard.figures.recipe import outside_text, recipe_figure
from dashboard.panels import blocks, charts, tables
from dashboard.panels.controls import MOST_STEPS
from dashboard.panels.jobs import start_button, submit
from dashboard.shelf import catalog
from dashboard.shelf.catalog import Runs
from dashboard.shelf.offers import Offers
from dashboard.shelf.state import choice, number, record_choice, take_next
from dashboard.words.markup import plain
from dashboard.words.recipe import command, recipe_label, rows, sentences
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
    "time": st.column_config.TextColumn(help="Median of a batch; only equal conditions can be compared"),
    "told": st.column_config.NumberColumn("told (ms)", format="%.3f", help="Of a call, by the times of the layers"),
    "run": st.column_config.LinkColumn("run", display_text=r"run=(.{8})"),
}
KIND_LABELS = {"drop": "a drop of at most", "ratio": "a file smaller by at least", "latency": "a batch within"}
LEAST_LABELS = {"size": "smallest file", "latency": "least time"}
LIMITS = {"drop": (1.0, 0.1, 99.0, "points"), "ratio": (4.0, 1.1, 1000.0, "x"), "latency": (5.0, 0.01, 1e6, "ms")}
"""Of each kind: default, smallest, largest, unit."""


def recipes_of(subject: Subject) -> dict[str, Report]:
    """By their ids, the first one is shown at first."""
    return {r.recipe_id: r for r in catalog.read(RECIPES).values if belongs(r.spec, r.digests, subject)}


def choose_recipe(subject: Subject, offers: Offers) -> Report | None:
    """The recipe for this network and these images that is looked at; where there is none, how to get one."""
    blocks.tell_left_out(catalog.read(RECIPES))
    own = recipes_of(subject)
    if not own:
        with st.container(border=True):
            st.markdown("**No recipe has been asked for this network and these images yet.**")
            st.markdown("Choose a target and press **Run**: about ten models are built and measured.")
            _ask(subject.spec, offers)
        return None
    if (made := take_next("recipe")) in own:
        st.session_state["recipe"] = made
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    chosen = left.selectbox(
        "Target", list(own), format_func=lambda i: recipe_label(own[i]), **record_choice("recipe", list(own))
    )
    with right.popover("Another target", icon=":material/add:"):
        _ask(subject.spec, offers)
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
        least = _least() if kind == "drop" else ""
        steps = st.number_input(
            "Fine-tuning steps", 0, MOST_STEPS, step=100, width=170,
            help="For TDQ's own pipelines, each ratio anew: 0 is quick. Distillation, without labels.",
            **number("recipe_steps", 0, 0, MOST_STEPS),
        )  # fmt: skip
        if start_button("Run", subject, offers, type="primary", icon=":material/play_arrow:"):
            target = Target.of(kind, limit).text
            asked = Request(kind="recipe", spec=subject, allowed_models=offers.allowed, target=target, finetune=steps,
                            least="" if least == "size" else least)  # fmt: skip
            submit(asked)
            st.rerun()


def _least() -> str:
    """What is to be least among what keeps a drop."""
    return st.selectbox(
        "at the", list(LEAST_LABELS), format_func=LEAST_LABELS.__getitem__, width=160,
        help="Least time: one image on one thread, ranks planned by the times of the layers on this machine. Where "
        "they were not timed yet, that comes first and takes minutes. Nothing slower than dense INT8 is chosen.",
        **choice("recipe_least", list(LEAST_LABELS)),
    )  # fmt: skip


def show_recipe(report: Report, runs: Runs) -> None:
    """Sentences, chart and table of everything that was tried, then the run that was chosen."""
    first, *others = sentences(report)
    _box(report)(first, icon=":material/checklist:")
    if report.chosen and (record := runs.get(report.chosen.run_id)):
        others.append(speed_words(record, [r for p in (*report.tried, report.reference) if (r := runs.get(p.run_id))]))
    st.markdown("\n".join(f"- {sentence}" for sentence in others))
    left, right = st.columns([3, 2], gap="medium")
    with left:
        charts.draw(
            recipe_figure(report), "recipe_chart", "Drop against file ratio of everything that the recipe tried",
            "the table below holds them",
        )  # fmt: skip
        st.caption(
            f"Lines: on the {report.n_choose:,} images that choices look at. Crosses: on the {report.n_verify:,} "
            "others, with 95 % intervals. Lower right is better; the ring marks what was chosen. "
            f"{outside_text(report)}"
        )
    with right:
        _card(report.chosen or report.alternatives[0], runs)
    tables.show([row | {"run": blocks.run_address(row["run"])} for row in rows(report, runs.get)], _COLUMNS)
    st.download_button(
        "Report as JSON", report.to_json(), f"{report.recipe_id}.json", "application/json",
        icon=":material/download:", on_click="ignore",
    )  # fmt: skip
    with st.expander("Ask again on the command line"):
        st.code(command(report), language=None, wrap_lines=True)


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
