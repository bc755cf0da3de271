"""`tdq run`: one measured point."""

import json
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from tdq_core.cli.options import (
    Budget,
    Calibrated,
    Data,
    Depth,
    FineTune,
    InputSize,
    JsonFlag,
    Mean,
    Model,
    Multiple,
    Policy,
    Seed,
    Std,
    Symmetric,
    Weights,
    WeightsRandom,
    numbers,
    size,
)
from tdq_core.cli.records import print_card
from tdq_core.cli.terminal import err, print_json, progress_bars
from tdq_core.errors import InputError
from tdq_core.specs import DEFAULT_ETA, RANDOM_WEIGHTS, SIMULATED, RankRule, RunSpec


def run(
    model: Model,
    data: Data,
    calib: Annotated[str | None, typer.Option(help="Calibration images for INT8, in the same grammar.")] = None,
    weights: Weights = None,
    weights_random: WeightsRandom = False,
    method: Annotated[str, typer.Option(help="none, tucker2, cp, svd or auto (tucker2 for k x k, svd else).")] = "none",
    epc: Annotated[bool, typer.Option("--epc", help="Correct CP's components at nearly the same error.")] = False,
    eta: Annotated[float, typer.Option(help="EPC may raise a layer's error to (1 + ETA) times.")] = DEFAULT_ETA,
    ratio: Annotated[float | None, typer.Option(help="Whole-model params, original / compressed, above 1.")] = None,
    ranks: Annotated[
        str | None, typer.Option(help="Ranks by layer: a JSON file, or JSON text such as '{\"conv1\": 8}'.")
    ] = None,
    energy: Annotated[float | None, typer.Option(help="Share of squared singular values that is kept.")] = None,
    vbmf: Annotated[bool, typer.Option("--vbmf", help="Ranks by EVBMF: the signal that stands out of noise.")] = False,
    vbmf_weakening: Annotated[float, typer.Option(help="rank = full - WEAKENING x (full - EVBMF rank).")] = 1.0,
    decompose_ends: Annotated[
        bool, typer.Option("--decompose-ends", help="Also decompose the first convolution and the classifier.")
    ] = False,
    policy: Policy = "uniform",
    budget: Budget = "params",
    multiple: Multiple = 1,
    depth: Depth = 1.0,
    calibrated: Calibrated = False,
    symmetric: Symmetric = False,
    finetune: FineTune = 0,
    precision: Annotated[str, typer.Option(help=f"fp32, fp16, int8, or simulated: {', '.join(SIMULATED)}.")] = "fp32",
    backend: Annotated[str, typer.Option(help="torch or onnxruntime.")] = "torch",
    no_condition: Annotated[
        bool, typer.Option("--no-condition", help="Quantize factors as they are, without balancing their ranges.")
    ] = False,
    reestimate_bn: Annotated[
        bool, typer.Option("--reestimate-bn", help="Re-estimate batch norms on the calibration images.")
    ] = False,
    granularity: Annotated[str, typer.Option(help="Scales of integer weights: channel or tensor.")] = "channel",
    ranges: Annotated[str, typer.Option(help="Simulated bits: minmax or mse (least rounding error).")] = "minmax",
    samples: Annotated[int | None, typer.Option(help="Evaluate a class-balanced subset of this many images.")] = None,
    calib_samples: Annotated[int, typer.Option(help="At most this many calibration images.")] = 512,
    mean: Mean = None,
    std: Std = None,
    input_size: InputSize = None,
    seed: Seed = 0,
    latency: Annotated[bool, typer.Option("--latency", help="Also measure latency.")] = False,
    export: Annotated[Path | None, typer.Option(help="Write the artefact, its ranks and the record here.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Decompose, quantize and measure one model, and keep the record."""
    rule = rank_rule(ratio=ratio, ranks=ranks, energy=energy, vbmf=vbmf_weakening if vbmf else None,
                     keep_ends=not decompose_ends, sharing=Sharing(policy, budget, multiple, depth))  # fmt: skip
    if weights and weights_random:
        raise InputError("Give either --weights FILE or --weights-random, not both.")
    spec = RunSpec(
        model=model, data=data, calib=calib, weights=RANDOM_WEIGHTS if weights_random else weights,
        method=method, rule=rule, epc=epc, eta=eta, precision=precision, backend=backend, condition=not no_condition,
        calibrated=calibrated, symmetric=symmetric, finetune=finetune, reestimate_bn=reestimate_bn,
        granularity=granularity, ranges=ranges, samples=samples, calib_samples=calib_samples, seed=seed,
        mean=numbers("mean", mean), std=numbers("std", std), input_size=size(input_size), latency=latency,
    )  # fmt: skip
    _run(spec, export, as_json)


def _run(spec: RunSpec, export: Path | None, as_json: bool) -> None:
    from tdq_core.pipeline.run import run as carry_out

    with progress_bars() as on_progress:
        outcome = carry_out(spec, on_progress=on_progress, export=export)
    record = outcome.record
    if as_json:
        print_json(record.to_dict())
    else:
        print_card(record, reused=outcome.reused)
    if record.state != "complete":
        err.print(f"tdq: {record.reason}", markup=False, soft_wrap=True)
        raise typer.Exit(2 if record.state == "refused" else 1)


class Sharing(NamedTuple):
    """How a ratio is shared out over the layers."""

    policy: str = "uniform"
    budget: str = "params"
    multiple: int = 1
    depth: float = 1.0


def rank_rule(*, keep_ends: bool, sharing: Sharing, **given: Any) -> RankRule | None:
    """The one rule among ratio, ranks, energy and vbmf that was given; None where none was."""
    chosen = {kind: value for kind, value in given.items() if value is not None}
    if len(chosen) > 1:
        raise InputError(f"Give one way to choose ranks. Got {len(chosen)}: --{', --'.join(chosen)}.")
    if not chosen:
        if sharing != Sharing():
            raise InputError("A policy, a budget and a multiple share out a ratio: give them with --ratio.")
        return None
    (kind, value), *_ = chosen.items()
    if kind == "ranks":
        return RankRule("manual", ranks=read_ranks(value), **sharing._asdict())
    return RankRule(kind, value=value, keep_ends=keep_ends, **sharing._asdict())


def read_ranks(text: str) -> dict[str, Any]:
    """Ranks by layer from JSON text, or from the JSON file of that name."""
    source = "The ranks given"
    if not text.lstrip().startswith("{"):
        source = f"The ranks file '{text}'"
        try:
            text = Path(text).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{source} cannot be read: {error}.") from error
    try:
        ranks = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f'{source} is not JSON ({error}); write it as {{"layer": rank}}.') from error
    if not isinstance(ranks, dict):
        raise InputError(f'{source} must be one JSON object, {{"layer": rank}}. Got a {type(ranks).__name__}.')
    return ranks
