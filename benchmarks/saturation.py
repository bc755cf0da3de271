"""INT8 files on x86 CPUs without VNNI: both scores, how many layers saturate, and what a repair takes.

    python -m benchmarks.saturation                                              # digits
    python -m benchmarks.saturation --data cifar10-jpeg:FOLDER --networks resnet20_cifar10 --samples 1000
    python -m benchmarks.saturation --masked 64                                  # against ONNX Runtime's own kernels

`--masked` runs each file by ONNX Runtime itself on an emulated CPU that has AVX2 and no VNNI (`qemu-x86_64 -cpu
Haswell`, Debian's qemu-user), on so many images, and counts the logits that are not bit for bit what is emulated here.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tdq_core.compression.quantize.saturation.emulated import Emulated
from tdq_core.data.sources import open_images
from tdq_core.errors import TDQError
from tdq_core.pipeline.exports.export import export_run
from tdq_core.pipeline.exports.saturation import WITHIN, repair
from tdq_core.pipeline.exports.told import Told
from tdq_core.pipeline.exports.without_vnni import Saturation
from tdq_core.pipeline.run import run
from tdq_core.pipeline.session import Session
from tdq_core.specs import RankRule, RunSpec

COLUMNS = f"{'network':<20}{'method':<9}{'with':>8}{'without':>9}  {'drop, points [95 %]':<25}{'saturate':>9}"
HEADER = f"{COLUMNS}{'at 7 bits':>11}{'with':>8}{'without':>9}{'CPU s':>7}"
MASKED = """
import sys
sys.path[:0] = {paths!r}
import numpy as np, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads, options.log_severity_level = 1, 3
session = onnxruntime.InferenceSession({file!r}, options, providers=["CPUExecutionProvider"])
images = np.load({images!r})
logits = [session.run(None, {{session.get_inputs()[0].name: images[i : i + 16]}})[0] for i in range(0, len(images), 16)]
np.save({logits!r}, np.concatenate(logits))
"""


def main(arguments: Sequence[str] = ()) -> None:
    asked = _arguments(arguments)
    qemu = shutil.which("qemu-x86_64")
    if asked.masked and not qemu:
        raise SystemExit("--masked takes qemu-x86_64: apt-get install qemu-user")
    print(HEADER, flush=True)
    session = Session()
    with tempfile.TemporaryDirectory() as folder:
        for name in asked.networks:
            for method in asked.methods:
                at = Path(folder) / f"{name}-{method}"
                try:
                    _exported(name, method, asked, session, at)
                    _row(name, method, asked, at)
                    if asked.masked:
                        print(f"    {_against_masked(str(qemu), at, asked)}", flush=True)
                except TDQError as error:
                    print(f"{name:<20}{method:<9}{error}", flush=True)


def _arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.saturation", description=__doc__)
    parser.add_argument("--data", default="digits", help="as `tdq run --data` takes it")
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--networks", nargs="+", default=["digits_resnet"])
    parser.add_argument("--weights", nargs="+", default=(), metavar="NAME=FILE", help="in place of registered ones")
    parser.add_argument("--methods", nargs="+", default=["none", "tucker2"])
    parser.add_argument("--ratio", type=float, default=2.0, help="of what is compressed")
    parser.add_argument("--within", type=float, default=WITHIN)
    parser.add_argument("--masked", type=int, default=0, metavar="IMAGES")
    return parser.parse_args(list(arguments))


def _exported(name: str, method: str, asked: argparse.Namespace, session: Session, folder: Path) -> None:
    rule = RankRule("ratio", asked.ratio)
    compressed: dict[str, Any] = {} if method == "none" else {"method": method, "rule": rule, "calibrated": True}
    weights = dict(each.split("=", 1) for each in asked.weights).get(name)
    compressed |= {"weights": weights} if weights else {}
    spec = RunSpec.of(name, asked.data, samples=asked.samples, precision="int8", backend="onnxruntime", **compressed)
    export_run(run(spec, session=session).record, spec, "onnx", folder, session=session)


def _row(name: str, method: str, asked: argparse.Namespace, folder: Path) -> None:
    start, to = time.process_time(), folder / "repaired"
    done = repair(folder, to, within=asked.within)
    found, after = Saturation.read(folder), done.found
    assert found, "as the repair has found it"
    lost, low, high = (100 * x for x in found.drop())
    drop = f"{lost:+.2f} [{low:+.2f}, {high:+.2f}]"
    print(
        f"{name:<20}{method:<9}{_percent(found, 'exact'):>8}{_percent(found, 'saturating'):>9}"
        f"  {drop:<25}{f'{len(found.layers)}/{found.of}':>9}{len(after.seven_bits):>11}{_percent(after, 'exact'):>8}"
        f"{_percent(after, 'saturating'):>9}{time.process_time() - start:>7.0f}",
        flush=True,
    )
    for layer in found.layers[:3]:
        print(
            f"    {layer.name}: {layer.pairs:,} pairs, {100 * layer.share:.2f} % of its output, "
            f"{100 * layer.answers:.2f} % of the answers",
            flush=True,
        )


def _percent(found: Saturation, way: str) -> str:
    return f"{100 * found.score(way)[0]:.2f}"  # type: ignore[arg-type]


def _against_masked(qemu: str, folder: Path, asked: argparse.Namespace) -> str:
    """The file on an emulated CPU without VNNI against what is emulated here."""
    (file,) = folder.glob("*.onnx")
    told = Told.read(folder)
    images = open_images(asked.data, role="eval", samples=asked.masked, seed=0, num_classes=None)
    batch = torch.cat([pictures for pictures, _ in images.batches(told.preprocessing, batch_size=16)])
    np.save(folder / "images.npy", batch.numpy())
    paths = [path for path in sys.path if path.endswith("site-packages")]
    lines = MASKED.format(
        paths=paths, file=str(file), images=str(folder / "images.npy"), logits=str(folder / "logits.npy")
    )
    command = [qemu, "-cpu", "Haswell", os.path.realpath(sys.executable), "-I", "-c", lines]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)  # where it names what else it cannot emulate
    masked, emulated = np.load(folder / "logits.npy"), Emulated(file, 1)
    here, exact = emulated.saturating()(batch).numpy(), emulated.exact(batch).numpy()
    return (
        f"masked: of {masked.size} logits {int((masked != here).sum())} differ from the emulation "
        f"(largest {np.abs(masked - here).max():.3g}), {int((masked != exact).sum())} from exact sums "
        f"(largest {np.abs(masked - exact).max():.3g})"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
