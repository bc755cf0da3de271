"""`tdq recipe`: the smallest model that meets a target, found by measuring."""

from typing import Annotated

import typer

from tdq_core.cli.options import (
    Data,
    FineTune,
    InputSize,
    JsonFlag,
    Mean,
    Model,
    Seed,
    Std,
    Weights,
    WeightsRandom,
    numbers,
    size,
)
from tdq_core.cli.terminal import both_ways, out, print_json, print_table, progress_bars
from tdq_core.errors import InputError
from tdq_core.recipes.choices import Pick
from tdq_core.recipes.report import Report
from tdq_core.recipes.target import parse_target
from tdq_core.specs import RANDOM_WEIGHTS, RunSpec


def recipe(
    model: Model,
    data: Data,
    target: Annotated[str, typer.Option(help="'drop<=1%', 'ratio>=4' or 'latency<=5ms'.")],
    calib: Annotated[str | None, typer.Option(help="Calibration images, in the same grammar.")] = None,
    weights: Weights = None,
    weights_random: WeightsRandom = False,
    samples: Annotated[int | None, typer.Option(help="A class-balanced subset of this many images.")] = None,
    calib_samples: Annotated[int, typer.Option(help="At most this many calibration images.")] = 512,
    finetune: FineTune = 0,
    mean: Mean = None,
    std: Std = None,
    input_size: InputSize = None,
    seed: Seed = 0,
    as_json: JsonFlag = False,
) -> None:
    """Find ranks that meet a target in INT8: chosen on one half of the images, verified on the other."""
    wanted = parse_target(target)
    if weights and weights_random:
        raise InputError("Give either --weights FILE or --weights-random, not both.")
    plain = RunSpec(
        model, data, calib=calib, weights=RANDOM_WEIGHTS if weights_random else weights, samples=samples,
        calib_samples=calib_samples, seed=seed, mean=numbers("mean", mean), std=numbers("std", std),
        input_size=size(input_size),
    )  # fmt: skip
    from tdq_core.recipes.search import find_recipe

    with progress_bars() as on_progress:
        report = find_recipe(plain, wanted, finetune=finetune, on_progress=on_progress)
    if as_json:
        print_json(report.to_dict())
        return
    _print(report)
    if report.chosen is None:
        raise typer.Exit(1)


def _print(report: Report) -> None:
    out.print(f"{report.spec.model} on {report.spec.data}, {report.target}: chosen on {report.n_choose} images, "
              f"verified on {report.n_verify}", markup=False)  # fmt: skip
    for sentence in report.sentences:
        out.print(f"  {sentence}", markup=False)
    rows = [
        _row(name, p)
        for name, p in (
            ("chosen", report.chosen),
            *((f"next {i}", p) for i, p in enumerate(report.alternatives, start=1)),
            ("study's", report.study),
            ("fp32 ONNX", report.reference),
        )
        if p
    ]
    heads = ("", "run", "pipeline", "params ratio", "file", "drop (choosing)", "drop (verified)", "latency", "meets it")
    print_table(heads, rows, right=("params ratio", "latency"))
    out.print(f"\n{len(report.tried)} runs were measured or read; `tdq show RUN` shows one.", markup=False)
    out.print(f"Recipe {report.recipe_id}: kept, the dashboard's page Recipe shows it.", markup=False)


def _row(name: str, p: Pick) -> tuple[str, ...]:
    first, second = (f"{100 * m:+.2f} [{100 * a:+.2f}, {100 * b:+.2f}]" for m, a, b in (p.chosen_drop, p.verified_drop))
    ratio = f"{p.params_ratio:.2f}x"
    latency = f"{p.latency_ms:.2f} ms" if p.latency_ms is not None else ""
    met = "yes, verified" if p.met and p.verified else "yes, not verified" if p.met else "no"
    return name, p.run_id[:8], p.arm, ratio, f"{p.bytes:,} B, {both_ways(p.bytes_ratio)}", first, second, latency, met
