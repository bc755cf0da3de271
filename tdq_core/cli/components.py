"""`tdq components`: what the components of a CP look like, and what INT8 would find in them."""

from typing import Annotated

import typer

from tdq_core.analysis.components import FEW_LEVELS, VARIANTS, Components, Variant, study_spec
from tdq_core.cli.options import JsonFlag, takes_spec
from tdq_core.cli.terminal import both_ways, complain, progress_bars, say, say_table
from tdq_core.errors import NotKept
from tdq_core.specs import DEFAULT_ETA, ImageSpec, ModelSpec, RankRule, RunSpec
from tdq_core.specs.choices import RULES


@takes_spec(ModelSpec, ImageSpec, RunSpec, without=("samples", "latency"))
def components(
    subject: RunSpec,
    ratio: Annotated[float, typer.Option(help=RULES["ratio"].help)],
    eta: Annotated[float, typer.Option(help="EPC may raise a layer's error to (1 + ETA) times.")] = DEFAULT_ETA,
    as_json: JsonFlag = False,
) -> None:
    """Look into every CP layer as it is, after EPC, and with its ranges balanced; the page Components shows it all."""
    from tdq_core.analysis.component_study import study

    spec = study_spec(subject, rule=RankRule("ratio", ratio), eta=eta)
    lost = None
    try:
        with progress_bars() as on_progress:
            studied = study(spec, on_progress=on_progress)
        found, how = studied.components, "Computed before as" if studied.reused else "Kept as"
    except NotKept as error:
        found, how, lost = error.value, "Not kept:", error
    if as_json:
        say(found.to_json())
    else:
        _print(found, how)
    if lost:
        complain(lost)
        raise typer.Exit(1)


def _print(found: Components, how: str) -> None:
    numbers_of = ("largest norm", "max/median range", f"under {FEW_LEVELS} levels", "levels left")
    rows = [
        (la.name if variant == VARIANTS[0] else "", la.rank if variant == VARIANTS[0] else "", variant,
         *_cells(la.variants[variant]))
        for la in found.layers
        for variant in VARIANTS
    ]  # fmt: skip
    say_table(("layer", "R", "variant", "error", *numbers_of), rows, right=("R", "error", *numbers_of))
    say(
        "",
        f"Params {found.params:,} ({both_ways(found.dense_params / found.params)}), "
        f"MACs {found.macs:,} ({both_ways(found.dense_macs / found.macs)}).",
        "Norms are over |W|; ranges and levels are those of the worse inner activation, INT8 with one scale.",
        f"{how} study {found.study_id}.",
    )


def _cells(variant: Variant) -> tuple[str, ...]:
    worse = max(variant.inner.values(), key=lambda inner: inner.ratio)
    return (
        f"{variant.rel_error:.4f}",
        f"{max(variant.norms):.3g}",
        f"{worse.ratio:.1f}",
        f"{worse.starved()} of {len(worse.levels)}",
        f"{worse.median_levels:.0f}",
    )
