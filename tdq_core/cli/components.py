"""`tdq components`: what the components of a CP look like, and what INT8 would find in them."""

from typing import Annotated

import typer

from tdq_core.analysis.components import FEW_LEVELS, VARIANTS, Components, Variant, study_spec
from tdq_core.cli.options import JsonFlag, takes_spec
from tdq_core.cli.terminal import both_ways, out, print_table, progress_bars
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

    with progress_bars() as on_progress:
        studied = study(study_spec(subject, rule=RankRule("ratio", ratio), eta=eta), on_progress=on_progress)
    if as_json:
        out.print(studied.components.to_json(), markup=False)
        return
    _print(studied.components, reused=studied.reused)


def _print(found: Components, *, reused: bool) -> None:
    numbers_of = ("largest norm", "max/median range", f"under {FEW_LEVELS} levels", "levels left")
    rows = [
        (la.name if variant == VARIANTS[0] else "", la.rank if variant == VARIANTS[0] else "", variant,
         *_cells(la.variants[variant]))
        for la in found.layers
        for variant in VARIANTS
    ]  # fmt: skip
    print_table(("layer", "R", "variant", "error", *numbers_of), rows, right=("R", "error", *numbers_of))
    out.print(
        f"\nParams {found.params:,} ({both_ways(found.dense_params / found.params)}), "
        f"MACs {found.macs:,} ({both_ways(found.dense_macs / found.macs)})."
    )
    out.print("Norms are over |W|; ranges and levels are those of the worse inner activation, INT8 with one scale.")
    out.print(f"{'Computed before' if reused else 'Kept'} as study {found.study_id}.", markup=False)


def _cells(variant: Variant) -> tuple[str, ...]:
    worse = max(variant.inner.values(), key=lambda inner: inner.ratio)
    return (
        f"{variant.rel_error:.4f}",
        f"{max(variant.norms):.3g}",
        f"{worse.ratio:.1f}",
        f"{worse.starved()} of {len(worse.levels)}",
        f"{worse.median_levels:.0f}",
    )
