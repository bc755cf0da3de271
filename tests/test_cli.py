"""The command line: what it prints, where, and how it refuses."""

import io
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from tdq_core.records.record import RunRecord


@pytest.fixture
def images(tmp_path):
    """Ten folders with one 32x32 image each."""
    for label in range(10):
        folder = tmp_path / "images" / f"class{label}"
        folder.mkdir(parents=True)
        Image.new("RGB", (32, 32), (label * 20, 100, 50)).save(folder / "one.png")
    return tmp_path / "images"


RUN_DIGITS = ("run", "--model", "digits_resnet", "--data", "digits")


class Evil:
    def __reduce__(self):
        return (print, ("code was run",))


def bad_inputs(folder: Path, images: Path) -> dict[str, tuple[tuple[str, ...], str]]:
    """The way it goes wrong -> arguments after `tdq run`, and words that the one sentence must hold."""
    save_file({"conv1.weight": torch.zeros(16, 3, 3, 3), "stranger": torch.zeros(1)}, folder / "wrong.safetensors")
    (folder / "evil.pt").write_bytes(pickle.dumps({"state_dict": Evil()}))
    torch.save({"state_dict": Evil()}, folder / "evil2.pt")
    (folder / "empty").mkdir()
    (folder / "torn").mkdir()
    for label in range(10):
        (folder / "torn" / f"c{label}").mkdir()
        (folder / "torn" / f"c{label}" / "x.png").write_bytes(b"\x89PNG nothing more")
    resnet = ("--model", "resnet20_cifar10", "--weights-random", "--data", f"folder:{images}")
    digits = ("--model", "digits_resnet", "--data", "digits")
    return {
        "missing weights file": ((*resnet[:2], "--weights", "nowhere.pt", *resnet[3:]), "nowhere.pt"),
        "wrong keys": ((*resnet[:2], "--weights", "wrong.safetensors", *resnet[3:]), "stranger"),
        "rank 0": ((*digits, "--method", "svd", "--ranks", '{"expand.0": 0}'), "at least 1"),
        "rank too large": ((*digits, "--method", "svd", "--ranks", '{"expand.0": 65}'), "[1, 64]. Got 65"),
        "ratio below 1": ((*digits, "--method", "svd", "--ratio", "0.5"), "above 1"),
        "ratio out of reach": ((*digits, "--method", "svd", "--ratio", "900"), "out of reach"),
        "unknown model": (("--model", "resnet19", "--data", "digits"), "resnet18"),
        "empty folder": ((*resnet[:4], f"folder:{folder / 'empty'}"), "empty"),
        "corrupt image": ((*resnet[:4], f"folder:{folder / 'torn'}"), "x.png"),
        "pickle with code": ((*resnet[:2], "--weights", "evil.pt", *resnet[3:]), "code"),
        "pickle with code, torch's own": ((*resnet[:2], "--weights", "evil2.pt", *resnet[3:]), "code"),
        "missing data folder": ((*resnet[:4], "folder:nowhere"), "nowhere"),
        "unknown data": (("--model", "digits_resnet", "--data", "mnist"), "digits"),
        "ranks that are no JSON": ((*digits, "--method", "svd", "--ranks", "{oops"), "not JSON"),
        "missing ranks file": ((*digits, "--method", "svd", "--ranks", "nowhere.json"), "nowhere.json"),
        "two rules": ((*digits, "--method", "svd", "--ratio", "2", "--vbmf"), "one way to choose ranks"),
        "classes that do not fit": (("--model", "digits_resnet", "--data", f"folder:{images / '..'}"), "10"),
    }


WAYS = (
    "missing weights file",
    "wrong keys",
    "rank 0",
    "rank too large",
    "ratio below 1",
    "ratio out of reach",
    "unknown model",
    "empty folder",
    "corrupt image",
    "pickle with code",
    "pickle with code, torch's own",
    "missing data folder",
    "unknown data",
    "ranks that are no JSON",
    "missing ranks file",
    "two rules",
    "classes that do not fit",
)


@pytest.mark.parametrize("way", WAYS)
def test_bad_input_is_one_sentence_and_exit_code_2(tdq, tmp_path, images, way):
    arguments, words = bad_inputs(tmp_path, images)[way]
    done = tdq("run", *arguments)
    assert done.returncode == 2, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("tdq: ") and words in lines[0], done.stderr
    assert "Traceback" not in done.stderr and "code was run" not in done.stdout + done.stderr
    left = [p for p in (tmp_path / "runs").glob("**/*") if p.is_file()]
    states = [RunRecord.from_dict(json.loads(p.read_text())).state for p in left]
    assert states == (["refused"] if way == "ratio out of reach" else [])


def test_json_is_the_record_and_nothing_else(tdq):
    first = tdq(*RUN_DIGITS, "--method", "tucker2", "--ratio", "1.5", "--json")
    record = RunRecord.from_dict(json.loads(first.stdout))
    assert record.state == "complete" and record.metrics.compression_ratio >= 1.5
    required = {"run_id", "state", "spec", "metrics", "baseline", "layers", "provenance"}
    plain = json.loads(first.stdout)
    assert required <= plain.keys()
    assert {"top1", "top1_low", "top1_high", "n", "params", "macs", "bytes", "compression_ratio"} <= plain[
        "metrics"
    ].keys()
    layer = {"name", "method", "ranks", "params", "macs", "rel_error", "skipped_because"}
    assert all(layer <= la.keys() for la in plain["layers"])
    assert {"versions", "cpu_flags", "threads", "seed", "weights_sha256", "time"} <= plain["provenance"].keys()
    again = tdq(*RUN_DIGITS, "--method", "tucker2", "--ratio", "1.5")
    assert "measured before" in again.stdout and record.run_id in again.stdout
    shown = json.loads(tdq("show", record.run_id[:6], "--json").stdout)
    assert shown == plain
    assert record.run_id in tdq("csv", "--model", "digits_resnet").stdout


def test_a_refused_run_prints_its_record_and_says_why(tdq):
    done = tdq(*RUN_DIGITS, "--method", "cp", "--ratio", "400", "--json")
    assert done.returncode == 2 and json.loads(done.stdout)["state"] == "refused"
    assert json.loads(done.stdout)["reason"] in done.stderr


def test_ranks_from_a_file(tdq, tmp_path):
    (tmp_path / "r.json").write_text('{"expand.0": 9, "block3.conv2.0": [12, 20], "head": null}')
    done = tdq(*RUN_DIGITS, "--method", "auto", "--ranks", "r.json", "--json")
    layers = json.loads(done.stdout)["layers"]
    ranks = {la["name"]: la["ranks"] for la in layers if la["method"] != "none"}
    assert ranks == {"expand.0": [9], "block3.conv2.0": [12, 20]}


def test_bits_from_a_file_and_the_same_again_from_what_is_told(tdq, tmp_path):
    """An export's own file gives the same bits again; what is none is a sentence and exit code 2."""
    (tmp_path / "b.json").write_text('{"*": 3, "block2.*": 6, "head": 5}')
    asked = (*RUN_DIGITS, "--precision", "w4a8", "--bits")
    record = json.loads(tdq(*asked, "b.json", "--export", "out", "--json").stdout)
    bits = {la["name"]: la["detail"]["bits"] for la in record["layers"]}
    assert (bits["stem.0"], bits["block1.conv1.0"], bits["block2.downsample.0"], bits["head"]) == (8, 3, 6, 5)
    assert (
        record["provenance"]["artefact"]["weight_bits"] == bits == json.loads((tmp_path / "out/bits.json").read_text())
    )
    assert record["provenance"]["artefact"]["planned_bytes"] == record["metrics"]["bytes"]
    again = json.loads(tdq(*asked, "out/bits.json", "--method", "svd", "--ranks", "out/ranks.json", "--json").stdout)
    assert again["state"] == "refused" and again["spec"]["bits"] == bits, "no layer is decomposed"
    shown = tdq("show", record["run_id"]).stdout
    assert "w4a8 + bits by hand" in shown and "head                    5" in shown
    for wrong in ('{"*": 9}', '{"nowhere": 4}', "nowhere.json", '{"head*": 3}', "{"):
        done = tdq(*asked, wrong)
        assert done.returncode == 2 and "its" in done.stderr.lower() and done.stderr.count("\n") == 1, done.stderr
        assert not done.stdout and "Traceback" not in done.stderr


def test_models_layers_and_doctor(tdq):
    names = [m["name"] for m in json.loads(tdq("models", "--json").stdout)]
    assert {"digits_resnet", "resnet50", "googlenet", "alexnet", "resnet18_cifar10", "resnet110_cifar10"} <= set(names)
    table = json.loads(tdq("layers", "--model", "digits_resnet", "--json").stdout)
    assert len(table["layers"]) == 9 + 1 and table["params"] == 157_930
    assert "block2.downsample.0" in tdq("layers", "--model", "digits_resnet").stdout
    report = json.loads(tdq("doctor", "--json").stdout)
    assert report["versions"]["torch"].startswith(torch.__version__.split("+")[0]) and "reduce_range" in report
    assert "Traceback" not in (plain := tdq("doctor")).stderr and "INT8" in plain.stdout


def test_own_model_and_weights(tdq, tmp_path, images):
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n\n\n"
        "def net():\n"
        "    stages = nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.AdaptiveAvgPool2d(1)\n"
        "    return nn.Sequential(*stages, nn.Flatten(), nn.Linear(16, 10))\n"
    )
    own = ("--model", "mine.py:net", "--weights-random", "--data", f"folder:{images}")
    seen = ("--mean", "0.5,0.5,0.5", "--std", "0.25,0.25,0.25", "--input-size", "20x24")
    done = tdq("run", *own, *seen, "--method", "cp", "--ratio", "1.4", "--json")
    record = json.loads(done.stdout)
    assert record["state"] == "complete" and record["metrics"]["n"] == 10, done.stderr
    assert record["provenance"]["preprocessing"]["input_size"] == [20, 24]
    assert any("random" in note for note in record["notes"])


def test_training_is_seeded_and_writes_a_card_that_loads(tdq, tmp_path):
    card, weights = tmp_path / "digits_resnet.json", tmp_path / "digits_resnet.safetensors"
    train = ("train", "--epochs", "1", "--out", tmp_path)
    first, kept = tdq(*train).stdout, json.loads(card.read_text())
    assert "bits" not in first, "there was nothing to compare with"
    assert kept["scores"]["eval"]["split"] == "digits/test" and kept["scores"]["eval"]["n"] == 700
    record = json.loads(tdq(*RUN_DIGITS, "--weights", weights, "--json").stdout)
    assert record["metrics"]["top1"] == kept["scores"]["eval"]["top1"]
    assert record["provenance"]["weights_sha256"] == kept["sha256"]
    again = tdq(*train).stdout
    assert "The same bits as the weights that the card there told of before" in again
    assert json.loads(card.read_text())["sha256"] == kept["sha256"]
    other = tdq(*train, "--seed", "1").stdout
    assert "Other bits than the weights that the card there told of before" in other
    assert json.loads(card.read_text())["sha256"] != kept["sha256"]


@pytest.mark.parametrize("name, example", [("sizes", "pixels:epochs with commas between, as 16:5,24:3"),
                                           ("depths", "blocks:epochs with commas between, as 1:4,2:2")])  # fmt: skip
def test_first_epochs_that_cannot_be_read_are_one_sentence(tdq, name, example):
    told = tdq("train", f"--{name}", "1:4;2")
    assert (told.returncode, told.stdout) == (2, "")
    assert " ".join(told.stderr.split()) == f"tdq: The '--{name}' must be {example}. Got '1:4;2'."


def test_first_epochs_are_numbers_and_epochs(tdq, tmp_path):
    """Read into the recipe, and told in the card's command."""
    told = tdq("train", "--epochs", "3", "--sizes", "4:1,6:1", "--depths", "", "--out", tmp_path / "w", "--json")
    card = json.loads(told.stdout)
    assert (card["recipe"]["sizes"], card["recipe"]["depths"]) == ([[4, 1], [6, 1]], [])
    assert card["source"].endswith("--epochs 3 --sizes 4:1,6:1 --depths ''`"), "as a shell takes it"


BROKEN = """
from torch import nn


class Net(nn.Sequential):
    def forward(self, x):
        if len(x) > 2:
            raise RuntimeError("no batch as large as this")
        return super().forward(x)


def net():
    return Net(nn.Conv2d(1, 10, 8), nn.Flatten())
"""
OWN = ("run", "--model", "broken.py:net", "--weights-random", "--data", "digits", "--mean", "0.5", "--std", "0.5")


@pytest.mark.parametrize("code, arguments, stdout, stderr", [
    (0, ("csv", "--model", "nobody's"), "run_id", ""),
    (1, (*OWN, "--input-size", "8", "--samples", "20"), "failed", "no batch as large as this"),
    (2, ("run", "--model", "resnet19", "--data", "digits"), "", "resnet18"),
], ids=["well", "failed", "refused"])  # fmt: skip
def test_exit_codes_and_streams_are_those_of_the_process(code, arguments, stdout, stderr, tmp_path):
    """The tests above call the command line in their own process."""
    (tmp_path / "broken.py").write_text(BROKEN)
    environment = os.environ | {"HOME": str(tmp_path), "TDQ_RUNS": str(tmp_path / "runs")}
    command = [sys.executable, "-m", "tdq_core", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert done.returncode == code, done.stderr
    assert stdout in done.stdout and stderr in done.stderr and "Traceback" not in done.stderr
    assert bool(done.stdout) == bool(stdout) and bool(done.stderr) == bool(stderr)


def test_help_of_every_command_needs_no_torch():
    code = """
import contextlib, sys
from tdq_core.cli import app, main
names = [command.name for command in app.registered_commands]
assert len(names) > 5
for words in ([], *([name] for name in names)):
    sys.argv = ["tdq", *words, "--help"]
    with contextlib.suppress(SystemExit):
        main()
    assert "torch" not in sys.modules, words
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.count("--help") > 5, done.stderr


def test_images_are_decoded_as_they_are(images):
    """The fixture's images are what the tests above think they are."""
    with Image.open(io.BytesIO((images / "class3" / "one.png").read_bytes())) as picture:
        assert picture.getpixel((0, 0)) == (60, 100, 50)
