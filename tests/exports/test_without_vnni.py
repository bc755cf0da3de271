"""An int8 export on CPUs without VNNI: both scores, who is guilty, the repair, and what is written down of it."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import tdq_core as tdq
from dashboard.panels.speed import _survival
from tdq_core.errors import InputError
from tdq_core.pipeline.exports.saturation import _fewest
from tdq_core.pipeline.exports.told import export_folder
from tdq_core.pipeline.exports.without_vnni import NAME, LayerLoss, Saturation
from tdq_core.system import machine


class Bright(nn.Module):
    """Its second layer has neighbours of one sign and size, which saturate where it is bright; the others do not."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.first, self.guilty = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 16, 3)
        self.last = nn.Linear(16, 5)
        with torch.no_grad():
            self.guilty.weight.copy_(self.guilty.weight[:, ::2].repeat_interleave(2, 1))
            for layer in (self.first, self.last):
                layer.weight.view(len(layer.weight), -1)[:, 1::2].abs_().neg_()  # of two signs, pair by pair
                layer.weight.view(len(layer.weight), -1)[:, ::2].abs_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.guilty(self.first(x).abs()).relu().mean((2, 3)))


@pytest.fixture(scope="module")
def bright(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tdq.ImagePair]:
    """An export of it with 60 labelled images, of which it is always right with VNNI."""
    if machine.needs_reduced_range():
        pytest.skip("this CPU has no VNNI: its files are kept within 7 bits from the start")
    folder = tmp_path_factory.mktemp("bright")
    pictures = torch.rand(60, 3, 8, 8, generator=torch.Generator().manual_seed(5)) + 0.5
    module = Bright().eval()
    with torch.no_grad():
        module.last.bias.sub_(module(pictures).mean(0))  # no class is everybody's
    net = tdq.wrap(module, size=8)
    file = tdq.quantize(net, "int8", backend="onnxruntime", calib=tdq.images(pictures).eval, to=folder / "own")
    images = tdq.images((pictures, file.artefact.predict(pictures).argmax(1)))
    tdq.export(file, folder / "out", images=images)
    return folder / "out", images


def test_both_scores_the_guilty_and_a_repair(bright: tuple[Path, tdq.ImagePair], tmp_path: Path) -> None:
    folder, images = bright
    done = tdq.repair(folder, tmp_path / "repaired", data=images.eval)
    found = Saturation.read(folder)
    assert found and found.score("exact")[0] == 1 and found.drop()[0] > 0.1
    assert [layer.name for layer in found.layers] == ["guilty"] and found.of == 3 and not found.seven_bits
    assert done.folder == tmp_path / "repaired" and done.found.seven_bits == ("guilty",) and not done.found.layers
    assert done.found.score("exact") == done.found.score("saturating"), "nothing is left to saturate"
    assert done.enough == (done.lost <= 0.002) and done.lost < found.drop()[0]
    card = (tmp_path / "repaired" / "README.md").read_text()
    assert done.found.sentence() in card and "Within 7 bits, where they cannot: `guilty`." in card
    assert not tdq.verify(tmp_path / "repaired", data=images.eval).wrong, "an export like any other"
    again = tdq.repair(tmp_path / "repaired", tmp_path / "twice", data=images.eval)
    assert again.folder is None and again.enough and not (tmp_path / "twice" / "export.json").exists()


def test_checked_twice_is_said_once(bright: tuple[Path, tdq.ImagePair]) -> None:
    folder, images = bright
    first = tdq.saturation(folder, data=images.eval)
    card = (folder / "README.md").read_text()
    (folder / NAME).write_text("{")  # what is damaged is written anew
    assert tdq.saturation(folder, data=images.eval) == first == Saturation.read(folder)
    assert (folder / "README.md").read_text() == card and card.count("without VNNI\n") == 1


def test_fewest_layers_are_found_by_halving() -> None:
    for enough in range(1, 20):
        tried: list[int] = []

        def loss(count: int, enough: int = enough, tried: list[int] = tried) -> float:
            tried.append(count)
            return 0.0 if count >= enough else 1.0

        assert _fewest(loss, 19, 0.5) == enough and len(tried) <= 6
    assert _fewest(lambda count: abs(count - 15) + 1.0, 19, 0.5) == 15, "none is enough: the least loss that was seen"


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_of_other_files_it_is_refused(precision: str, tmp_path: Path) -> None:
    net = tdq.wrap(Bright().eval(), size=8)
    tdq.export(tdq.quantize(net, precision, backend="onnxruntime", to=tmp_path / "own"), tmp_path / "out")
    with pytest.raises(InputError, match=rf"int8 files of ONNX Runtime\. The export in .* is {precision} as onnx"):
        tdq.saturation(tmp_path / "out")


def test_from_the_command_line(tdq: Callable[..., object], tmp_path: Path) -> None:
    point = ("run", "--model", "digits_resnet", "--data", "digits", "--samples", 20, "--calib-samples", 16)
    told = tdq(*point, "--precision", "int8", "--backend", "onnxruntime", "--export", "out")
    assert told.returncode == 0, told.stderr  # type: ignore[attr-defined]
    run_id = json.loads((tmp_path / "out" / "record.json").read_text())["run_id"]
    export_folder(run_id, "onnx").parent.mkdir()
    (tmp_path / "out").rename(export_folder(run_id, "onnx"))  # as the page writes it, and this where it did not
    told = tdq("saturation", run_id[:8], "--json")
    assert told.returncode == 0, told.stderr  # type: ignore[attr-defined]
    said = json.loads(told.stdout)  # type: ignore[attr-defined]
    assert said["n"] == 20 and said["of"] > 5 and said["folder"] == str(export_folder(run_id, "onnx"))
    shown = tdq("saturation", said["folder"]).stdout  # type: ignore[attr-defined]
    assert shown.startswith(f"With VNNI {100 * said['with_vnni']:.2f} %, on an x86 CPU without")
    assert _survival(run_id).startswith("With VNNI"), "the page says it too"
    wrong = {
        ("saturation", "nowhere"): "no folder that `tdq export` wrote, and no run",
        ("saturation", said["folder"], "--repair", said["folder"]): "a folder of its own",
        ("saturation", said["folder"], "--repair", "new", "--within", "-1"): "from 0 to 100. Got -1",
        ("saturation", "."): "no 'export.json' that can be read",
    }
    for command, sentence in wrong.items():
        told = tdq(*command)
        assert told.returncode == 2 and sentence in told.stderr and "Traceback" not in told.stderr  # type: ignore[attr-defined]
    assert not (tmp_path / "new").exists()


def test_images_without_labels_are_refused(bright: tuple[Path, tdq.ImagePair]) -> None:
    with pytest.raises(InputError, match="scored on labelled images"):
        tdq.saturation(bright[0])
    with pytest.raises(InputError, match="scored on labelled images"):
        tdq.saturation(bright[0], data=tdq.images(torch.rand(4, 3, 8, 8)).eval)


def made_up(**fields: object) -> Saturation:
    return Saturation.of_outcomes(
        np.array([1, 1, 1, 0], bool), np.array([1, 0, 0, 1], bool), sha256="a", source=None, digest="b", of=9,
        **{"layers": (LayerLoss(name="conv", pairs=3, share=0.5, answers=0.1),)} | fields,
    )  # fmt: skip


def test_what_is_written_is_read(tmp_path: Path) -> None:
    assert Saturation.read(tmp_path) is None
    (tmp_path / NAME).write_text(made_up().to_json())
    found = Saturation.read(tmp_path)
    assert found == made_up() and found.drop()[0] == 0.25 and found.changed() == 3
    assert "With VNNI 75.00 %, on an x86 CPU without 50.00 % (a drop of +25.00 points [" in found.sentence()


@pytest.mark.parametrize("fields", [{"n": 400}, {"exact": "?"}, {"schema": 2}, {"layers": [{"name": "x"}]}, {"of": -1}])
def test_what_is_damaged_is_a_sentence(
    fields: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TDQ_RUNS", str(tmp_path))
    folder = export_folder("0123456789abcdef", "onnx")
    folder.mkdir(parents=True)
    (folder / NAME).write_text(json.dumps(json.loads(made_up().to_json()) | fields))
    with pytest.raises(InputError):
        Saturation.read(folder)
    assert _survival("0123456789abcdef")
    assert _survival("f" * 16) == ""
