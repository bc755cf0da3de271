"""How well a plan's time is told before it is built: random plans, predicted, then timed beside the dense network.

    python -m benchmarks.plan_times --model NAME --data DATA [--plans 30] [--precision int8] [--batch 1] [--threads 1]

Ranks are drawn layer by layer around a ratio of params between 1.2 and 6, for Tucker-2, SVD, spatial and CP in turn,
and fitted to weights: a time depends on shapes alone. Layers that have not been timed yet are timed first. Each plan
and the dense network are called in turn, so that what else runs slows both; the error is that of their ratio.
"""

import argparse
import math
import random
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.random_plans import RATIOS, of_share
from tdq_core.cli.terminal import say, say_table
from tdq_core.compression.quantize.onnx_session import session_predict
from tdq_core.layers.table import LayerTable
from tdq_core.pipeline.layer_times import measure
from tdq_core.pipeline.run_files import RunFiles
from tdq_core.pipeline.session import Session
from tdq_core.pipeline.speed.clock import in_turn
from tdq_core.prediction.layer_times import timed
from tdq_core.ranks.budget import Budget
from tdq_core.ranks.plan import make_plan
from tdq_core.ranks.takers import why_left
from tdq_core.specs import RankRule, RunSpec
from tdq_core.system.leftovers import temporary_folder
from tdq_core.system.progress import silent

METHODS = ("tucker2", "svd", "spatial", "cp")
SECONDS = 2.0


def drawn(base: RunSpec, table: LayerTable, number: int) -> RunSpec:
    """The plan of this number: always the same."""
    draw = random.Random(2000 + number)
    method, ratio = METHODS[number % len(METHODS)], math.exp(draw.uniform(*map(math.log, RATIOS)))
    budget = Budget(table, RankRule("ratio", ratio))
    able = [la for la in table.layers if not why_left(la, method, budget)]
    ranks = {la.name: found for la in able if (found := of_share(la, method, 1 / ratio, draw))}
    rule = RankRule("manual", ranks=ranks)  # type: ignore[arg-type]
    cp = method == "cp"
    return base.changed(method=method, rule=rule, epc=cp, effort="quick" if cp else "usual")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plan_times", description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet20_cifar10")
    parser.add_argument("--data", default="cifar10-jpeg")
    parser.add_argument("--plans", type=int, default=30)
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    base = RunSpec.of(asked.model, asked.data, precision=asked.precision, backend="onnxruntime", calib_samples=64)
    found = measure(base, batch=asked.batch, threads=asked.threads).times
    session, rows, off = Session(), [], []
    table = timed(session.open(base).table(spectra=False), found)
    with temporary_folder() as folder:
        dense = _files(base, session, folder / "dense").dense(asked.precision, "onnxruntime").path
        images = session.open(base).example()[torch.arange(asked.batch) % 16].contiguous()
        for number in range(asked.plans):
            spec = drawn(base, table, number)
            plan = make_plan(table, spec.method, spec.rule, spec.precision)
            assert plan.ns, "every layer was timed"
            path = _files(spec, session, folder / str(number)).run(asked.precision, "onnxruntime").path
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


def _files(spec: RunSpec, session: Session, folder: Path) -> RunFiles:
    folder.mkdir(exist_ok=True)
    return RunFiles(spec, session, folder, None, silent)


if __name__ == "__main__":
    main()
