"""The named figures of the study, one function each."""

from collections.abc import Callable, Mapping, Sequence

import streamlit as st

from cached_runs.study import DATA
from dashboard.facts.curves import curves_of
from dashboard.facts.findings import curve_rows, told_beside
from dashboard.facts.pipelines import network_recipes, recipe_rows
from dashboard.facts.study_views import Kind, View, drawn_runs
from dashboard.figures.rows import curve_points
from dashboard.figures.study import curves_figure
from dashboard.panels import blocks, charts, tables
from dashboard.shelf import catalog
from dashboard.shelf.state import flag
from dashboard.words.markup import plain
from dashboard.words.study import IMAGES, dense_of, network_rows
from tdq_core.records.record import RunRecord

OWNER = {
    "tucker2-all": ("additivity", "Do the drops add up? Page Additivity"),
    "tucker2-later": ("explore", "All runs of this network, and ranks by hand: page Explore"),
    "cp-int8": ("components", "Why INT8 fails, layer by layer: page Components"),
    "calibrated": ("find", "The best of these for a budget: page Find"),
}
"""Of each figure of curves the page that goes on from there."""
Records = Sequence[RunRecord]
ByModel = Mapping[str, Records]


def show_view(view: View, model: str, by_model: ByModel) -> None:
    """One figure of one network, with its paragraph; where runs are missing, which and how to get them."""
    records = by_model[model]
    st.subheader(view.question, anchor=False)
    if records or view.of_all:
        _DRAWN[view.kind](view, model, by_model)
    if not records:
        _not_measured(model, records)


def _not_measured(model: str, records: Records) -> None:
    """What is missing, of the figure or of all figures, and the commands that measure it."""
    measure = f"python -m cached_runs {model}"
    if records:
        what = f"**What this figure draws has not been measured for {model}.**"
    else:
        what = f"**No run of {model} on {IMAGES} is here.**"
    if catalog.weights_are_here(model):
        how = (
            "This command measures what is missing, and needs the images; then this page draws it. "
            "For single runs press **Run** on the page Explore."
        )
        commands = measure
    else:
        how = (
            "Its weights are not here. These two commands train it, with other weights on another kind of machine, and "
            "measure all of its runs; they need the images. Then this page draws it."
        )
        commands = f"tdq train {model} --data {DATA}:FOLDER\n{measure}"
    with st.container(border=True):
        st.markdown(what)
        st.markdown(how)
        st.code(commands, language=None)


def _networks(view: View, model: str, by_model: ByModel) -> None:
    rows = network_rows(catalog.cards(), catalog.network_costs(), dense_of(by_model))
    columns = {
        "params": st.column_config.NumberColumn(format="localized", width=100),
        "MACs": st.column_config.NumberColumn("MACs per image", format="localized", width=120),
        "training": st.column_config.TextColumn(width=380),
    }
    tables.show(rows, columns)
    st.markdown(
        f"Dense top-1 in FP32 on the test images of {IMAGES}: re-encoded images are harder than the originals, and "
        "these numbers are not comparable with published ones. Weights are chosen on 5,000 validation images that are "
        "neither trained on nor tested on. Runs of larger networks look at a class-balanced subset, on which the dense "
        "network may be better or worse by some points: every drop is against the dense network on the same images."
    )
    if rows := network_recipes(by_model):
        st.markdown(
            "**The smallest INT8 file that loses at most one point**, by the study's pipeline and by TDQ's own:"
        )
        tables.show(rows)
        st.markdown(
            "Chosen on every other test image; 'drop on the others' are the images between, in points (95 % interval, "
            "paired). The view *Two recipes* says what is in the files, at other bounds as well."
        )


def _curves(view: View, model: str, by_model: ByModel) -> None:
    records = by_model[model]
    if not view.ratios(model):
        st.info(view.out_of_reach)
        return
    curves = curves_of(view, records)
    if not curves:
        _not_measured(model, records)
        return
    intervals = st.toggle("95 % intervals", **flag("study_intervals", True))
    charts.draw(
        curves_figure(curves, intervals=intervals), f"study-{view.key}", f"{view.title}, drop at each ratio",
        lambda: curve_points(curves),
    )  # fmt: skip
    tables.show(curve_rows(curves))
    if beside := told_beside(view.beside, records):
        st.markdown(beside)
    for remark in view.remarks(model, records[0].spec.images.calib_samples):
        st.markdown(remark)
    st.caption(
        f"{_origin(records)} Zero: the dense network in FP32. Below: fewer bits against FP32 at the same ratio, "
        "paired by image. Press a name in the legend to hide its line."
    )
    blocks.download_csv(drawn_runs(view, records), f"tdq-{model}-{view.key}", key=f"csv-{view.key}")
    blocks.link(*OWNER[view.key])


def _origin(records: Records) -> str:
    first = records[0]
    n = first.metrics.n if first.metrics else 0
    weights = first.provenance.get("weights")
    return f"{IMAGES}, {n:,} class-balanced test images, the same for all runs. Weights: {plain(weights)}."


def _recipes(view: View, model: str, by_model: ByModel) -> None:
    records = by_model[model]
    widths = {"drop at most": 90, "what it is": 310, "params": 165, "file": 165, "drop": 60, "on the others": 90}
    columns = {name: st.column_config.TextColumn(width=width) for name, width in widths.items()}
    tables.show(recipe_rows(records), columns)
    st.markdown(
        "Of each pipeline the smallest file whose drop stays within the bound on every other image; 'drop on the "
        "others' are the images between, which no choice has looked at (95 % interval, paired). Other images may "
        "choose another file: `docs/zoo.md` counts how often they do. The study's is Tucker-2 (SVD for matrices) of "
        "the weights, all layers or later ones first, then INT8; TDQ's fits factors to the outputs of unlabelled "
        "images first."
    )
    st.caption(_origin(records))


_DRAWN: dict[Kind, Callable[[View, str, ByModel], None]] = {
    "curves": _curves,
    "recipes": _recipes,
    "networks": _networks,
}
