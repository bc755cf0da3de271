"""What decomposing can gain on the clock, network by network, and where nothing can be gained, why: per-layer times.

    python -m benchmarks.speed_left MODEL... --data DATA [--weights FILE] [--input-size 224] [--ratios 2 3] [--fitted N]

Of each network: a call of dense INT8, which share of it lies in layers that some form makes faster, in layers that none
does (at its fastest ranks), and outside of layers; how many times as fast it is told to be with every layer in its
fastest form, which is the most that can be. Then plans of *mixed* at ratios of time, their ends too, timed in turn with
dense INT8: of random factors, for a time depends on shapes alone. With `--fitted N` the same plans are also fitted to
the outputs of N calibration images, and told is how far the answers of the INT8 file are from those of dense fp32, for
networks whose weights are random and whose accuracy says nothing. MODEL may be your own 'file.py:factory'.
"""

import argparse
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import tdq_core as tdq
from benchmarks.plan_times import SECONDS, built
from tdq_core.cli.terminal import say, say_table
from tdq_core.compression.quantize.onnx_session import session_predict
from tdq_core.errors import TDQError
from tdq_core.layers.table import LayerTable
from tdq_core.pipeline.inputs import RunInputs
from tdq_core.pipeline.layer_times import measure
from tdq_core.pipeline.session import Session
from tdq_core.pipeline.speed.clock import in_turn, ratio
from tdq_core.prediction.layer_times import DENSE, timed
from tdq_core.ranks.plan import make_plan
from tdq_core.specs import RankRule, RunSpec
from tdq_core.system.leftovers import temporary_folder


def shares(table: LayerTable) -> tuple[int, int, int]:
    """Nanoseconds of layers that some form makes faster, of the others, and what the first take at their fastest."""
    gains = stays = least = 0
    for layer in table.layers:
        forms = {form.method: form for form in layer.times}
        if DENSE not in forms:
            continue
        dense = forms.pop(DENSE).dense
        fastest = min((form.least for form in forms.values()), default=dense)
        if fastest < dense:
            gains, least = gains + dense, least + fastest
        else:
            stays += dense
    return gains, stays, least


def raced(inputs: RunInputs, table: LayerTable, ratios: list[float], folder: Path) -> Iterator[str]:
    """A sentence of each ratio."""
    image = inputs.example()[:1].contiguous()
    dense = session_predict(built(inputs, make_plan(table, "none", None, inputs.spec.precision), folder / "dense"), 1)
    for wanted in ratios:
        rule = RankRule("ratio", wanted, policy="global", budget="latency", keep_ends=False)
        try:
            plan = make_plan(table, "mixed", rule, inputs.spec.precision)
            own = session_predict(built(inputs, plan, folder / f"{wanted:g}"), 1)
        except TDQError as error:
            yield f"at {wanted:g}: {error}"
            continue
        ms = in_turn([partial(own, image), partial(dense, image)], seconds=SECONDS)
        seen = ratio(ms[:, 0], ms[:, 1])
        yield (f"at {wanted:g}: {seen.median:.2f}x [{seen.low:.2f}, {seen.high:.2f}] as fast as dense INT8, "
               f"{len(plan.decomposed())} layers in factors, {plan.compression_ratio:.1f}x fewer params, "
               f"{table.macs / plan.macs:.1f}x fewer MACs")  # fmt: skip


def off(spec: RunSpec) -> str:
    """How far the answers of a run are from those of dense fp32."""
    record = tdq.run(spec).record
    moves = record.metrics.moves() if record.metrics else None
    return record.reason or record.state if moves is None else f"{math.sqrt(float(moves.mean())):.3f}"


def told_off(base: RunSpec, images: int, ratios: list[float]) -> Iterator[str]:
    """A sentence: dense INT8, then each ratio."""
    spec = base.changed(calib_samples=images)
    yield f"logits, root of the mean squared distance from dense fp32 over their own size: dense INT8 {off(spec)}"
    for wanted in ratios:
        rule = RankRule("ratio", wanted, policy="global", budget="latency", keep_ends=False)
        try:
            fitted = spec.changed(method="mixed", rule=rule, calibrated=True)
            yield f"at {wanted:g}, fitted to {images} images: {off(fitted)}"
        except TDQError as error:
            yield f"at {wanted:g}: {error}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed_left", description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+")
    parser.add_argument("--data", default="cifar10-jpeg")
    parser.add_argument("--weights", help="a file, or 'random'")
    parser.add_argument("--input-size", type=int)
    parser.add_argument("--ratios", nargs="*", type=float, default=[1.5, 2.0, 3.0])
    parser.add_argument("--fitted", type=int, metavar="N", help="calibration images of fits whose logits are compared")
    parser.add_argument("--samples", type=int, default=64, help="images whose logits are compared")
    asked = parser.parse_args()
    rows = []
    for model in asked.models:
        more: dict[str, Any] = {"weights": asked.weights, "input_size": asked.input_size and [asked.input_size] * 2}
        base = RunSpec.of(model, asked.data, precision="int8", backend="onnxruntime", calib_samples=16,
                          samples=asked.samples,
                          **{name: given for name, given in more.items() if given})  # fmt: skip
        found, inputs = measure(base).times, Session().open(base)
        table = timed(inputs.table(spectra=True), found)
        gains, stays, least = shares(table)
        whole = found.dense_ns
        rows.append((model.rpartition(":")[2], f"{whole / 1e6:.3g}", f"{gains / whole:.0%}", f"{stays / whole:.0%}",
                     f"{1 - (gains + stays) / whole:.0%}", f"{whole / (whole - gains + least):.2f}"))  # fmt: skip
        say(", ".join(rows[-1]))
        with temporary_folder() as folder:
            for sentence in raced(inputs, table, asked.ratios, folder):
                say(f"{model.rpartition(':')[2]} {sentence}")
        for sentence in told_off(base, asked.fitted, asked.ratios) if asked.fitted else ():
            say(f"{model.rpartition(':')[2]} {sentence}")
    heads = ("network", "dense INT8, ms", "in layers that can gain", "in layers that cannot", "in no layer",
             "the most that is told")  # fmt: skip
    say_table(heads, rows, right=heads[1:])


if __name__ == "__main__":
    main()
