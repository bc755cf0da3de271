"""A vision transformer's Linear layers by SVD: sizes, costs, and how near the logits stay on real images.

    python -m benchmarks.attention --data imagenet:ROOT [--weights FILE|random] [--images 64]

For each ratio: params and MACs, the relative error of the logits, |z - z~| / |z - mean|, and how many images keep their
first class, by the weights alone and fitted to outputs (on other images of the same folder). Without arguments: not
run, for it needs images of ImageNet's size.
"""

import argparse
import time
from collections.abc import Sequence

import torch
from torch import Tensor

from tdq_core.compression.calibrate.layer_by_layer import apply_calibrated
from tdq_core.compression.decompose.factors import Options
from tdq_core.compression.decompose.modules import apply_plan
from tdq_core.graph.layer_table import count_params, read_layers
from tdq_core.pipeline.session import open_run
from tdq_core.ranks.plan import make_plan
from tdq_core.specs import RankRule, RunSpec

RATIOS = (1.25, 1.5, 2.0, 3.0)


def main(arguments: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attention", description=__doc__)
    parser.add_argument("--data")
    parser.add_argument("--model", default="vit_b_16")
    parser.add_argument("--weights", default="random")
    parser.add_argument("--images", type=int, default=64)
    options = parser.parse_args(list(arguments))
    if options.data is None:
        print("skipped: it needs --data imagenet:ROOT")
        return
    compare(options.model, options.data, options.weights, options.images)


def compare(model: str, data: str, weights: str, count: int) -> None:
    rule = RankRule("ratio", 2.0)
    spec = RunSpec.of(model, data, weights=weights, method="svd", rule=rule, calibrated=True, samples=2 * count,
                   calib=data, calib_samples=1)  # fmt: skip
    opened = open_run(spec)
    images = torch.cat([x for x, _ in opened.images.batches(opened.model.preprocessing, batch_size=8)])
    seen, held = images[0::2], images[1::2]
    module = opened.model.module
    table = read_layers(module, images[:2], name=model, digest="")
    dense = logits(module, held)
    print(f"{model}, {opened.model.weights_source}: {table.params:,} params, {table.macs:,} MACs; fitted on "
          f"{len(seen)} images, judged on {len(held)} others")  # fmt: skip
    heads = ("kept", "params", "MACs", "by weights: error, same class, s", "fitted: error, same class, s")
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for ratio in RATIOS:
        plan = make_plan(table, "svd", RankRule("ratio", ratio))
        cells = []
        for fitted in (False, True):
            start = time.perf_counter()
            if fitted:
                made, _ = apply_calibrated(module, plan, lambda: seen.split(8), options=Options())
            else:
                made, _ = apply_plan(module, plan, options=Options())
            seconds = time.perf_counter() - start
            assert count_params(made) == plan.params
            cells.append(f"{fidelity(dense, logits(made, held))}, {seconds:.0f}")
        print(f"| {1 / ratio:.0%} | {plan.params:,} | {plan.macs:,} | {' | '.join(cells)} |", flush=True)


def logits(module: torch.nn.Module, images: Tensor) -> Tensor:
    with torch.inference_mode():
        return torch.cat([module(x) for x in images.split(8)])


def fidelity(dense: Tensor, made: Tensor) -> str:
    spread = torch.linalg.vector_norm(dense - dense.mean(0))
    same = float((dense.argmax(1) == made.argmax(1)).float().mean())
    return f"{float(torch.linalg.vector_norm(dense - made) / spread):.3f}, {same:.0%}"


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
