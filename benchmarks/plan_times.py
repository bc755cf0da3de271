"""How well a plan's time is told before it is built: random plans, predicted, then timed beside the dense network.

    python -m benchmarks.plan_times --model NAME --data DATA [--plans 30] [--precision int8] [--batch 1] [--threads 1]

Ranks are drawn layer by layer around a ratio of params between 1.2 and 6, for Tucker-2, SVD, spatial and CP in turn.
A time depends on shapes alone, so that the factors are random too. Layers that have not been timed yet are timed first.
Each plan and the dense network are called in turn, so that what else runs slows both; the error is that of their ratio.
Files that are built already in --folder are only timed: on a machine that is busy, build them first.
"""

import argparse
import copy
import math
import random
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.random_plans import RATIOS, of_share
from tdq_core.cli.terminal import say, say_table
from tdq_core.compression.quantize.artefact import Request
from tdq_core.compression.quantize.onnx_session import session_predict
from tdq_core.compression.quantize.prepare import realise
from tdq_core.graph.modules import Layer as Module
from tdq_core.graph.replace import replace
from tdq_core.layers.methods import Stage, method
from tdq_core.layers.table import LayerTable
from tdq_core.pipeline.inputs import RunInputs
from tdq_core.pipeline.layer_times import measure
from tdq_core.pipeline.session import Session
from tdq_core.pipeline.speed.clock import in_turn
from tdq_core.prediction.layer_times import timed
from tdq_core.ranks.budget import Budget
from tdq_core.ranks.plan import Plan, make_plan
from tdq_core.ranks.takers import why_left
from tdq_core.specs import RankRule, RunSpec
from tdq_core.system.leftovers import temporary_folder

METHODS = ("tucker2", "svd", "spatial", "cp")
SECONDS = 2.0


def drawn(base: RunSpec, table: LayerTable, number: int, methods: Sequence[str]) -> RunSpec:
    """The plan of this number: always the same."""
    draw = random.Random(2000 + number)
    form, ratio = methods[number % len(methods)], math.exp(draw.uniform(*map(math.log, RATIOS)))
    budget = Budget(table, RankRule("ratio", ratio))
    able = [la for la in table.layers if not why_left(la, form, budget)]
    ranks = {la.name: found for la in able if (found := of_share(la, form, 1 / ratio, draw))}
    rule = RankRule("manual", ranks=ranks)
    return base.changed(method=form, rule=rule)


def built(inputs: RunInputs, plan: Plan, folder: Path) -> Path:
    """The INT8 file of the network with random factors of the ranks of `plan`; the one in `folder`, if it is there."""
    if known := sorted(folder.glob("*.onnx")):
        return known[0]
    folder.mkdir(parents=True, exist_ok=True)
    model = copy.deepcopy(inputs.model.module)
    for part in plan.decomposed():
        layer = model.get_submodule(part.layer.name)
        assert isinstance(layer, Module), "it is in the layer table"
        replace(model, {part.layer.name: of_shapes(layer, method(part.method).all_stages(part.layer, part.ranks))})
    request = Request(example=inputs.example(), calibration=inputs.calibration, folder=folder)
    return realise(model.eval(), inputs.spec.precision.name, "onnxruntime", request=request).path


def of_shapes(layer: Module, stages: Sequence[Stage]) -> nn.Sequential:
    """Random sub-layers in the place of `layer`, each taking what the one before gives; its bias is the layer's own, as
    a plan's is: one of another size than what flows may not fit into the 32 bits that it has in INT8."""
    found: list[nn.Module] = []
    seen = layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels
    for stage in stages:
        bias = stage is stages[-1] and layer.bias is not None
        if isinstance(layer, nn.Linear):
            found.append(nn.Linear(seen, stage.out, bias=bias))
        else:
            assert not isinstance(layer.padding, str), "networks of the zoo and of torchvision say how much"
            found.append(nn.Conv2d(
                seen, stage.out, where(stage, layer.kernel_size, 1), where(stage, layer.stride, 1),
                where(stage, layer.padding, 0), groups=seen // stage.seen, bias=bias,
            ))  # fmt: skip
        seen = stage.out
    if layer.bias is not None:
        found[-1].bias = layer.bias
    return nn.Sequential(*found)


def where(stage: Stage, pair: tuple[int, ...], least: int) -> tuple[int, int]:
    """Of `pair` (down, across) what the sub-layer carries, else `least`."""
    return pair[0] if stage.kernel[0] else least, pair[1] if stage.kernel[1] else least


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plan_times", description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet20_cifar10")
    parser.add_argument("--data", default="cifar10-jpeg")
    parser.add_argument("--plans", type=int, default=30)
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where files are built, or are already; else nothing is kept")
    asked = parser.parse_args()
    base = RunSpec.of(asked.model, asked.data, precision=asked.precision, backend="onnxruntime", calib_samples=64)
    found = measure(base, batch=asked.batch, threads=asked.threads).times
    inputs, rows, off = Session().open(base), [], []
    table = timed(inputs.table(spectra=False), found)
    images = inputs.example()[torch.arange(asked.batch) % 16].contiguous()
    with temporary_folder() as scratch:
        folder = asked.folder or scratch
        dense = built(inputs, make_plan(table, "none", None, base.precision), folder / "dense")
        specs = [drawn(base, table, number, asked.methods) for number in range(asked.plans)]
        plans = [make_plan(table, spec.method, spec.rule, spec.precision) for spec in specs]
        paths = [built(inputs, plan, folder / str(number)) for number, plan in enumerate(plans)]
        for spec, plan, path in zip(specs, plans, paths, strict=True):
            assert plan.ns, "every layer was timed"
            calls = [session_predict(each, asked.threads) for each in (path, dense)]
            ms = in_turn([partial(each, images) for each in calls], seconds=SECONDS)
            told, seen = found.dense_ns / plan.ns, float(np.median(ms[:, 1] / ms[:, 0]))
            off.append(told / seen - 1)
            rows.append((spec.method, f"{plan.compression_ratio:.2f}", f"{table.macs / plan.macs:.2f}",
                         f"{told:.2f}", f"{seen:.2f}", f"{off[-1]:+.0%}"))  # fmt: skip
    heads = ("method", "params / ", "MACs / ", "faster than dense, told", "timed", "off")
    say_table(heads, rows, right=heads[1:])
    errors = np.abs(off)
    say(f"{asked.model}, {found.conditions}: mean error {errors.mean():.1%}, median {np.median(errors):.1%}, "
        f"largest {errors.max():.0%}; the mean of all {np.mean(off):+.1%}.")  # fmt: skip


if __name__ == "__main__":
    main()
