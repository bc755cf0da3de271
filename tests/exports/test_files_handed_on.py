"""A file that is handed on is what was measured: in a new process, without the project, and wherever it is checked."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import tdq_core as tdq
from tdq_core.errors import InputError, RunFailed
from tdq_core.pipeline.exports.check import answers
from tdq_core.pipeline.exports.export import Exported, Made, Source, _require_logits, export_run, finish
from tdq_core.pipeline.exports.fresh import fresh
from tdq_core.pipeline.exports.told import Told
from tdq_core.pipeline.exports.verify import verify
from tdq_core.pipeline.run import run
from tdq_core.pipeline.session import Session
from tdq_core.records.record import RunRecord
from tdq_core.records.store import RunStore
from tdq_core.specs import RankRule, RunSpec
from tdq_core.specs.formats import FORMATS, file_format, formats_of, in_format
from tdq_core.specs.precision import BACKENDS, PRECISIONS

SAMPLES = 60


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunStore, Session]:
    return RunStore(tmp_path_factory.mktemp("runs")), Session()


@pytest.fixture(scope="module")
def measured(shelf: tuple[RunStore, Session]) -> Callable[[str], RunRecord]:
    def measured(precision: str) -> RunRecord:
        spec = RunSpec.of("digits_resnet", "digits", samples=SAMPLES, calib_samples=32, method="auto",
                          rule=RankRule("ratio", 2.0), precision=precision)  # fmt: skip
        return run(spec, store=shelf[0], session=shelf[1]).record

    return measured


@pytest.fixture(scope="module")
def exported(
    shelf: tuple[RunStore, Session], measured: Callable[[str], RunRecord], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, str], Exported]:
    made: dict[tuple[str, str], Exported] = {}

    def exported(precision: str, format: str) -> Exported:
        if (precision, format) not in made:
            record, folder = measured(precision), tmp_path_factory.mktemp("out") / "new"
            made[precision, format] = export_run(record, record.spec, format, folder, store=shelf[0], session=shelf[1])
        return made[precision, format]

    return exported


def snippet_of(folder: Path) -> str:
    found = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.S)
    assert found
    return found[1]


PAIRS = [("fp32", "onnx"), ("fp32", "safetensors"), ("fp32", "pt2"), ("int8", "onnx"), ("w4a8", "safetensors")]
ALL = [(p, f.name) for p, row in PRECISIONS.items() for f in FORMATS.values() if row.kind in f.kinds]
LONG = [pytest.param(*pair, marks=pytest.mark.long) for pair in ALL if pair not in PAIRS]


@pytest.mark.parametrize("precision, format", [*PAIRS, *LONG])
def test_a_new_process_answers_every_image_as_the_record_says(
    exported: Callable[[str, str], Exported], precision: str, format: str
) -> None:
    done = exported(precision, format)
    assert done.record and done.record.metrics and done.told.images
    assert done.told.images.correct().tolist() == done.record.metrics.correct().tolist()
    assert done.told.run_id == done.record.run_id and done.told.precision == precision
    assert (done.folder / done.told.file).stat().st_size == done.told.bytes
    written = json.loads((done.folder / "record.json").read_text())
    assert written["run_id"] == done.record.run_id, "of the run whose file it is"
    assert written["spec"]["backend"] == FORMATS[format].backend
    card = (done.folder / "README.md").read_text()
    for said in (done.told.sha256, f"{done.told.bytes:,}", f"n = {SAMPLES}", str(done.told.lowest_runtime)):
        assert said in card


@pytest.mark.parametrize("precision, format", [("fp32", "onnx"), ("fp32", "pt2")])
def test_the_six_lines_of_the_card_run_without_the_project(
    exported: Callable[[str, str], Exported], precision: str, format: str
) -> None:
    done = exported(precision, format)
    code = snippet_of(done.folder)
    assert len(code.splitlines()) <= 6 and "tdq" not in code
    told = subprocess.run([sys.executable, "-I", "-c", code], cwd=done.folder, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    assert re.fullmatch(r"\[\d\]\n", told.stdout)


def test_a_process_tells_what_of_the_project_it_has_loaded(tmp_path: Path) -> None:
    load = "import numpy as np, tdq_core\npredict = lambda images: images.reshape(len(images), -1)"
    with fresh(load, alone=False, scratch=tmp_path) as ask:
        assert ask.foreign == ["tdq_core"]
        images = np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2)
        assert ask(images).tolist() == images.reshape(2, -1).tolist()
    broken = "import numpy as np\nraise ValueError('the file is of another planet')"
    with pytest.raises(RunFailed, match="cannot run it: ValueError: the file is of another planet"):
        with fresh(broken, alone=True, scratch=tmp_path):
            pass


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_format_holds_the_numbers_or_says_which_does(precision: str, format: str) -> None:
    spec = RunSpec.of("digits_resnet", "digits", precision=precision)
    if PRECISIONS[precision].kind in FORMATS[format].kinds:
        found = in_format(spec, format)
        assert found.precision.backend == FORMATS[format].backend and found.precision.name == precision
        return
    assert formats_of(spec), "there is always a way out"
    with pytest.raises(InputError, match=rf"cannot hold {precision}: export it as {formats_of(spec)[0].name}"):
        in_format(spec, format)


def test_what_was_changed_since_is_found(exported: Callable[[str, str], Exported], tmp_path: Path) -> None:
    done = exported("fp32", "onnx")
    assert not verify(done.folder).wrong
    told = json.loads((done.folder / "export.json").read_text())

    def changed(**fields: object) -> Path:
        (tmp_path / "export.json").write_text(json.dumps(told | fields))
        (tmp_path / "model.fp32.onnx").write_bytes((done.folder / "model.fp32.onnx").read_bytes())
        return tmp_path

    other = [[2 * value for value in row] for row in told["logits"]]
    (sentence,) = verify(changed(logits=other), data="digits").wrong
    assert "logits on noise" in sentence
    seen = done.told.images
    assert seen
    flipped = type(seen).of(~seen.correct(), source=seen.source, digest=seen.digest, samples=SAMPLES, seed=0)
    (sentence,) = verify(changed(images=json.loads(json.dumps(told["images"] | {"outcomes": flipped.outcomes})))).wrong
    assert f"of {SAMPLES} images are answered otherwise" in sentence
    changed()
    (tmp_path / "model.fp32.onnx").write_bytes(b"another file")
    with pytest.raises(InputError, match="is not the one that was exported: its SHA-256"):
        verify(tmp_path)
    with pytest.raises(InputError, match="lies outside of its folder"):
        verify(changed(file="../model.fp32.onnx"))
    with pytest.raises(InputError, match=r"has no 'export\.json' that can be read"):
        verify(tmp_path / "nowhere")


def test_a_file_that_answers_otherwise_is_not_handed_on(
    exported: Callable[[str, str], Exported], measured: Callable[[str], RunRecord], shelf: tuple[RunStore, Session],
    tmp_path: Path,
) -> None:  # fmt: skip
    done, net = exported("fp32", "onnx"), tdq.load("digits_resnet", weights="random")
    file = tmp_path / "model.fp32.onnx"
    file.write_bytes((done.folder / file.name).read_bytes())
    (tmp_path / "README.md").write_text("of an older export")
    artefact = tdq.quantize(net, "fp32", backend="onnxruntime").artefact
    other = type(artefact)(file, 1, artefact.predict, artefact.details)
    made = Made(other, "digits_resnet", "fp32", net.preprocessing, 1, 1, "")
    with pytest.raises(RunFailed, match="other logits in a new process"):
        finish(tmp_path, made, None)
    assert not (tmp_path / "README.md").exists() and not (tmp_path / "export.json").exists()
    honest = answers(file, "onnx", net.preprocessing, None, precision="fp32")
    same = type(artefact)(file, 1, lambda images: torch.from_numpy(honest.logits), artefact.details)
    images = tdq.images("digits", samples=SAMPLES).eval
    wrong = ~np.asarray(measured("fp32").metrics.correct())  # type: ignore[union-attr]
    with pytest.raises(RunFailed, match="what was measured says"):
        finish(tmp_path, Made(same, "digits_resnet", "fp32", net.preprocessing, 1, 1, ""), Source(images, None), wrong)


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3, bias=False), nn.BatchNorm2d(16),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4))  # fmt: skip


@pytest.mark.parametrize("format", FORMATS)
def test_a_module_in_hand_is_handed_on(tmp_path: Path, format: str) -> None:
    module = small()
    net = tdq.wrap(module, size=12)
    tight = tdq.compress(net, tdq.plan(net, "tucker2", ratio=1.3))
    batch = torch.rand(8, 3, 12, 12), torch.arange(8) % 4
    done = tdq.export(tight, tmp_path, format=format, images=tdq.images(batch))
    assert done.told.images and done.told.images.n == 8
    assert Told.read(tmp_path) == done.told
    shown = torch.randn(5, 3, 12, 12)
    if format == "safetensors":
        again = tdq.load(tmp_path, model=module)
        assert torch.equal(again(shown), tight(shown)) and again.params == tight.params
        with pytest.raises(InputError, match="whose code is run for those only who name it"):
            tdq.verify(tmp_path)
        assert not tdq.verify(tmp_path, model=module, data=tdq.images(batch).eval).wrong
        assert "tdq_core.load('.', model=module)" in (tmp_path / "README.md").read_text()
    else:
        assert not tdq.verify(tmp_path, data=tdq.images(batch).eval).wrong


def test_what_was_quantized_is_handed_on_as_it_lies(tmp_path: Path) -> None:
    net = tdq.wrap(small(), size=12)
    pictures = tdq.images(torch.rand(8, 3, 12, 12)).eval
    file = tdq.quantize(net, "int8", backend="onnxruntime", calib=pictures, to=tmp_path / "own")
    with pytest.raises(InputError, match=r"its format is onnx\. Got 'pt2'"):
        tdq.export(file, tmp_path / "out", format="pt2")
    with pytest.raises(InputError, match="labelled images"):
        tdq.export(file, tmp_path / "out", images=pictures)
    done = tdq.export(file, tmp_path / "out")
    assert (tmp_path / "out" / "model.int8.onnx").read_bytes() == file.path.read_bytes()
    assert done.told.precision == "int8" and done.told.images is None
    assert tdq.verify(tmp_path / "out").images is None


def test_from_the_command_line(tdq: Callable[..., object], tmp_path: Path) -> None:
    point = ("run", "--model", "digits_resnet", "--data", "digits", "--samples", 20, "--export", "first")
    told = tdq(*point)
    assert told.returncode == 0, told.stderr  # type: ignore[attr-defined]
    assert "in a process of its own" in told.stdout  # type: ignore[attr-defined]
    record = json.loads((tmp_path / "first" / "record.json").read_text())
    told = tdq("export", record["run_id"][:6], "--format", "safetensors", "--out", "second", "--json")
    assert json.loads(told.stdout)["run_id"] == record["run_id"]  # type: ignore[attr-defined]
    told = tdq("verify", "second", "--json")
    assert json.loads(told.stdout)["changed"] == 0 and told.returncode == 0  # type: ignore[attr-defined]
    (tmp_path / "second" / "model.fp32.safetensors").write_bytes(b"x")
    assert tdq("verify", "second").returncode == 2  # type: ignore[attr-defined]
    assert tdq("export", record["run_id"], "--format", "tflite", "--out", "third").returncode == 2  # type: ignore[attr-defined]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
def test_a_run_leaves_a_file_of_one_format(precision: str, backend: str) -> None:
    if PRECISIONS[precision].kind not in BACKENDS[backend].kinds:
        return
    spec = RunSpec.of("digits_resnet", "digits", precision=precision, backend=backend)
    own = file_format(spec)
    assert in_format(spec, own) == spec and (own == "onnx") == (backend == "onnxruntime")


def test_two_exports_do_not_share_a_folder(tmp_path: Path) -> None:
    net = tdq.wrap(small(), size=12)
    tdq.export(net, tmp_path, format="safetensors")
    tdq.export(net, tmp_path, format="safetensors")  # the same one may be written again
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(InputError, match="holds the export of 'Sequential' as safetensors: name another one"):
        tdq.export(net, tmp_path, format="onnx")
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    (tmp_path / "export.json").write_text("{")
    tdq.export(net, tmp_path, format="safetensors")


def test_nobody_elses_code_runs_unnamed(tdq: Callable[..., object], tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(
        "from torch import nn\n\ndef small():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
    )
    named = ("--model", "nets.py:small")
    point = ("run", *named, "--input-size", 8, "--mean", "0.5", "--std", "0.5", "--data", "digits", "--samples", 20)
    told = tdq(*point, "--export", "out")
    assert told.returncode == 0, told.stderr  # type: ignore[attr-defined]
    run_id = json.loads((tmp_path / "out" / "record.json").read_text())["run_id"]
    for unnamed in (("export", run_id, "--out", "other"), ("verify", "out")):
        told = tdq(*unnamed)
        assert told.returncode == 2 and "only who name it" in told.stderr  # type: ignore[attr-defined]
    assert tdq("export", run_id, "--out", "other", *named).returncode == 0  # type: ignore[attr-defined]
    assert tdq("verify", "out", *named).returncode == 0  # type: ignore[attr-defined]


def test_logits_of_a_new_process_are_held_against_those_of_this_one(tmp_path: Path) -> None:
    """Other ones, none, and a network in whose halves everything vanishes: each its own sentence."""
    here = np.array([[0.0, 1.0, 2.0], [1.0, 0.0, 3.0]])
    _require_logits(tmp_path, here + 1e-5, here)
    with pytest.raises(RunFailed, match=r"by up to 0\.33 of their spread"):
        _require_logits(tmp_path, here + np.array([0.0, 0.0, 1.0]), here)
    with pytest.raises(RunFailed, match="overflows"):
        _require_logits(tmp_path, np.full_like(here, np.inf), here)
    with pytest.raises(RunFailed, match=r"same logit on noise, and .* does not: .* vanish; export it at fp32"):
        _require_logits(tmp_path, 1e-11 * here, 0 * here)
