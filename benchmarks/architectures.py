"""Every network of torchvision, and families of timm, with random weights: what TDQ does with them, and why not.

    python -m benchmarks.architectures [--only torchvision:resnet18,timm:efficientnet_b0] [--steps ratio,calibrated]

Each network runs in a process of its own, at the smallest of a few sizes that it takes. Of each: whether its layer
table is complete (every param is in a layer or in a named rest), and whether `auto` at ratio 1.5, with and without
calibration, fp16 and INT8 through both backends end as complete, as refused, or as failed with which sentence. A
complete run has passed all checks that every run passes: planned = counted, exported = torch, grids as planned.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from tdq_core.cli.terminal import say
from tdq_core.errors import TDQError
from tdq_core.graph.layer_table import count_params
from tdq_core.models.loading import load_model
from tdq_core.pipeline.inputs import table_of
from tdq_core.pipeline.run import run
from tdq_core.pipeline.session import Session
from tdq_core.records.store import RunStore
from tdq_core.specs import RANDOM_WEIGHTS, ModelSpec, RankRule, RunSpec

SIZES = (32, 64, 96, 128, 224, 256, 299)
STEPS: dict[str, dict[str, Any]] = {
    "ratio": {"method": "auto"},
    "calibrated": {"method": "auto", "calibrated": True},
    "fp16 torch": {"method": "auto", "precision": "fp16"},
    "fp16 onnx": {"method": "auto", "precision": "fp16", "backend": "onnxruntime"},
    "int8 torch": {"precision": "int8"},
    "int8 onnx": {"precision": "int8", "backend": "onnxruntime"},
    "w4a8": {"method": "auto", "precision": "w4a8"},
}
TORCHVISION = (
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_v2_s", "googlenet", "inception_v3",
    "maxvit_t", "mnasnet0_5", "mobilenet_v2", "mobilenet_v3_small", "regnet_x_400mf", "regnet_y_400mf", "resnet18",
    "resnet50", "resnext50_32x4d", "shufflenet_v2_x0_5", "squeezenet1_1", "swin_t", "swin_v2_t", "vgg11", "vgg11_bn",
    "vit_b_16", "wide_resnet50_2",
)  # fmt: skip
"""The smallest of each family."""
TIMM = (
    "resnet10t", "resnet18d", "resnetv2_50", "resnext50_32x4d", "seresnet18", "res2net50_14w_8s", "ecaresnet26t",
    "regnetx_002", "regnety_002", "regnetz_b16", "efficientnet_lite0", "tf_efficientnet_b0", "tf_efficientnetv2_b0",
    "mobilenetv2_050", "mobilenetv3_small_050", "mobilenetv4_conv_small", "mnasnet_small", "fbnetc_100", "ghostnet_050",
    "hardcorenas_a", "rexnet_100", "tinynet_e", "lcnet_050", "semnasnet_075", "spnasnet_100", "densenet121", "dla34",
    "dpn48b", "vovnet39a", "darknet17", "cspresnet50", "repvgg_a0", "repvit_m0_9", "mobileone_s0", "convnext_atto",
    "convnextv2_atto", "convmixer_768_32", "mixer_s32_224", "resmlp_12_224", "gmlp_ti16_224", "poolformer_s12",
    "vit_tiny_patch16_224", "deit_tiny_patch16_224", "cait_xxs24_224", "levit_128s", "mobilevit_xxs",
    "xcit_nano_12_p16_224",
    "pvt_v2_b0", "nf_resnet26", "nfnet_f0", "skresnet18", "hrnet_w18_small", "swin_tiny_patch4_window7_224",
    "edgenext_xx_small", "fastvit_t8", "inception_v4",
)  # fmt: skip


def names() -> list[str]:
    """All that are tried, as 'torchvision:NAME' and 'timm:NAME'."""
    return [f"torchvision:{name}" for name in TORCHVISION] + [f"timm:{name}" for name in TIMM]


FACTORIES = {
    "torchvision": "import torchvision.models as t\ndef net():\n    return t.get_model({name!r}, num_classes=10)\n",
    "timm": "import timm\ndef net():\n    return timm.create_model({name!r}, num_classes=10)\n",
}
"""A file of one's own around the library: ten classes, as the images have."""


def clock() -> float:
    """CPU seconds of this process and of the workers that it has waited for."""
    return sum(os.times()[:4])


def tried(name: str, steps: list[str]) -> dict[str, str]:
    """What became of one network, by step; 'complete', or a sentence. Told as it goes, a line a step."""
    torch.set_num_threads(1)
    library, _, kind = name.partition(":")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "m.py"
        file.write_text(FACTORIES[library].format(name=kind))
        found = _table(f"{file}:net")
        if found["table"] == "complete":
            session = Session()
            for step in steps:
                print(json.dumps(found | {step: f"not done within the time, seconds so far {clock():.0f}"}), flush=True)
                found[step] = _ended(f"{file}:net", int(found["size"]), step, session)
    return found | {"CPU s": f"{clock():.0f}"}


def _table(name: str) -> dict[str, str]:
    """At the smallest size that the network takes: whether every param is in a layer or in the rest."""
    reason = ""
    for size in SIZES:
        try:
            model = load_model(ModelSpec(name, RANDOM_WEIGHTS, input_size=(size, size)))
            table = table_of(model, torch.zeros(2, *model.preprocessing.input_shape), spectra=False)
        except TDQError as error:
            reason = str(error)
            continue
        listed = sum(layer.params for layer in table.layers) + sum(part.params for part in table.rest)
        able = sum(layer.params for layer in table.layers if layer.refusal is None)
        complete = listed == table.params == count_params(model.module)
        return {
            "size": str(size), "params": str(table.params), "able": f"{able / max(table.params, 1):.3f}",
            "table": "complete" if complete else f"{listed:,} of {table.params:,} params listed",
        }  # fmt: skip
    return {"table": reason}


def _ended(name: str, size: int, step: str, session: Session) -> str:
    asked: dict[str, Any] = dict(STEPS[step])
    if "method" in asked:
        asked["rule"] = RankRule("ratio", 1.5)
    spec = RunSpec.of(
        name, "digits", weights=RANDOM_WEIGHTS, samples=10, calib_samples=10, input_size=(size, size), **asked
    )
    try:
        with tempfile.TemporaryDirectory() as folder:
            record = run(spec, store=RunStore(Path(folder)), session=session).record
    except TDQError as error:
        return str(error)
    return "complete" if record.state == "complete" else f"{record.state}: {record.reason}"


def _in_a_process(name: str, steps: list[str], seconds: float) -> dict[str, str]:
    command = [sys.executable, "-m", "benchmarks.architectures", "--one", name, "--steps", ",".join(steps)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
        return _last(done.stdout) | ({} if done.returncode == 0 else {"end": "TRACEBACK " + done.stderr[-200:]})
    except subprocess.TimeoutExpired as late:
        return _last((late.stdout or b"").decode()) or {"table": f"not done within {seconds:g} s"}


def _last(lines: str) -> dict[str, str]:
    said = [line for line in lines.splitlines() if line.startswith("{")]
    return dict(json.loads(said[-1])) if said else {}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.architectures", description=__doc__.splitlines()[0])
    parser.add_argument("--only", help="these names, with commas between")
    parser.add_argument("--steps", default=",".join(STEPS), help=f"of {', '.join(STEPS)}")
    parser.add_argument("--seconds", type=float, default=900, help="for one network")
    parser.add_argument("--out", type=Path, help="a JSON file that grows as networks are done")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    steps = [step for step in given.steps.split(",") if step]
    if given.one:
        print(json.dumps(tried(given.one, steps)))
        return
    results: dict[str, dict[str, str]] = {}
    for name in given.only.split(",") if given.only else names():
        results[name] = _in_a_process(name, steps, given.seconds)
        say(f"{name}: {results[name]}")
        if given.out:
            given.out.write_text(json.dumps(results, indent=1))
    for step in ("table", *steps):
        ends = Counter(found.get(step, "not tried").split(":")[0][:60] for found in results.values())
        say(f"{step}: " + ", ".join(f"{how} {count}" for how, count in ends.most_common()))


if __name__ == "__main__":
    main()
