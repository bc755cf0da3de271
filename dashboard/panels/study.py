"""The named figures of the study, one function each."""

from collections.abc import Callable, Mapping, Sequence

import pandas as pd
import streamlit as st

from cached_runs.study import DATA
from cached_runs.study import NETWORKS as NETWORK_SAMPLES
from dashboard.facts.curves import curves_of
from dashboard.facts.findings import curves_in_words, lost_to_rounding, told_beside
from dashboard.facts.pipelines import network_recipes, recipe_rows
from dashboard.facts.study_views import Kind, View, drawn_runs
from dashboard.figures.additivity import additivity_figure, additivity_info, joined_runs
from dashboard.figures.additivity import what_is_seen as what_adds_up
from dashboard.figures.components import ranges_figure, strip_figure
from dashboard.figures.study import curves_figure
from dashboard.panels import blocks
from dashboard.shelf import catalog
from dashboard.shelf.state import flag
from dashboard.words.components import sum_of_squares, what_is_seen
from dashboard.words.markup import plain
from dashboard.words.study import IMAGES, network_rows
from tdq_core.analysis.additivity import find_cells
from tdq_core.analysis.components import STUDIES, Components
from tdq_core.records.record import RunRecord
from tdq_core.specs.choices import BUDGETS

_BARE = {"displaylogo": False, "modeBarButtonsToRemove": ["select2d", "lasso2d"]}
Records = Sequence[RunRecord]
ByModel = Mapping[str, Records]


def show_view(view: View, model: str, by_model: ByModel) -> None:
    """One figure of one network, with its paragraph; where runs are missing, which and how to get them."""
    records = by_model[model]
    st.subheader(view.title)
    st.markdown(f"*{view.question}*")
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
        st.code(commands, language="bash")


def _networks(view: View, model: str, by_model: ByModel) -> None:
    rows = network_rows(catalog.cards(), catalog.network_costs())
    columns = {
        "params": st.column_config.NumberColumn(format="localized", width=100),
        "MACs": st.column_config.NumberColumn("MACs per image", format="localized", width=120),
        "training": st.column_config.TextColumn(width=580),
    }
    st.dataframe(pd.DataFrame(rows), hide_index=True, column_config=columns)
    st.markdown(
        f"Dense top-1 in FP32 on the test images of {IMAGES}: re-encoded images are harder than the originals, and "
        "these numbers are not comparable with published ones. Weights are chosen on 5,000 validation images that are "
        "neither trained on nor tested on."
    )
    if rows := network_recipes(by_model):
        st.markdown(
            "**The smallest INT8 file that loses at most one point**, by the study's pipeline and by TDQ's own:"
        )
        st.dataframe(pd.DataFrame(rows), hide_index=True)
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
    st.plotly_chart(curves_figure(curves, intervals=intervals), key=f"study-{view.key}", config=_BARE)
    counted = (curves_in_words(curves), lost_to_rounding(curves), told_beside(view.beside, records))
    st.markdown(" ".join(filter(None, counted)))
    for remark in view.remarks(model, records[0].spec.images.calib_samples):
        st.markdown(remark)
    st.caption(
        f"{_origin(records)} Dashed: the dense model in FP32. Below: fewer bits against FP32 at the same ratio, "
        "paired by image. Press a name in the legend to hide its line."
    )
    blocks.download_csv(drawn_runs(view, records), f"tdq-{model}-{view.key}", key=f"csv-{view.key}")
    _link("explore", "All runs of this network, and sliders for its ranks, on the page Explore", model)


def _link(page: str, label: str, model: str) -> None:
    """To another page, with this network and these images chosen there."""
    query = {"model": model, "data": DATA} | ({"samples": str(n)} if (n := NETWORK_SAMPLES[model]) else {})
    blocks.link(page, label, icon=":material/arrow_forward:", query=query)


def _origin(records: Records) -> str:
    first = records[0]
    n = first.metrics.n if first.metrics else 0
    weights = first.provenance.get("weights")
    return f"{IMAGES}, {n:,} class-balanced test images, the same for all runs. Weights: {plain(weights)}."


def _additivity(view: View, model: str, by_model: ByModel) -> None:
    records = by_model[model]
    cells = find_cells(records)
    if not cells:
        _not_measured(model, records)
        return
    info = additivity_info(cells)
    intervals = st.toggle("95 % intervals", **flag("study_cells", False))
    st.plotly_chart(additivity_figure(info, intervals=intervals), key="study-additivity", config=_BARE)
    st.markdown(what_adds_up(info))
    small = [c for c in cells if c.drop_summed()[0] <= 0.05]
    if small and len(small) < len(cells):
        st.markdown(f"Among the {len(small)} whose separate drops sum to at most 5 points: "
                    f"{what_adds_up(additivity_info(small))}")  # fmt: skip
    st.caption(f"{_origin(records)} Intervals are paired by image and not corrected for looking at many.")
    blocks.download_csv(joined_runs(cells), f"tdq-{model}-additivity", key="csv-study-additivity")


def _components(view: View, model: str, by_model: ByModel) -> None:
    records = by_model[model]
    study = next((s for s in catalog.read(STUDIES).values if s.spec.model.name == model), None)
    if study is None:
        _not_measured(model, records)
        return
    worst = max(study.layers, key=lambda la: sum_of_squares(la.variants["als"]))
    st.plotly_chart(strip_figure(study, worst.name), key="study-strip", config=_BARE)
    st.markdown(f"**{plain(worst.name)}**, where components cancel each other most. {what_is_seen(worst)}")
    st.plotly_chart(ranges_figure(worst), key="study-ranges", config=_BARE)
    st.caption(_studied(study))
    _link("components", "All layers, on the page Components", model)


def _studied(study: Components) -> str:
    known = study.provenance
    rule = study.spec.rule
    ratio = f" at {BUDGETS[rule.budget].label} ratio {rule.value:g}" if rule and rule.value else ""
    return (
        f"Ranges over {known.get('calib_n'):,} calibration images of {plain(known.get('calib_split'))}; CP{ratio}. "
        "Lower is better on both strips."
    )


def _recipes(view: View, model: str, by_model: ByModel) -> None:
    records = by_model[model]
    widths = {"drop at most": 90, "what it is": 310, "params": 165, "file": 165, "drop": 60, "on the others": 90}
    columns = {name: st.column_config.TextColumn(width=width) for name, width in widths.items()}
    st.dataframe(pd.DataFrame(recipe_rows(records)), hide_index=True, column_config=columns)
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
    "additivity": _additivity,
    "components": _components,
    "recipes": _recipes,
    "networks": _networks,
}
