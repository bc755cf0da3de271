"""What a run exports is a network again, with the accuracy that was recorded; and weights that are chosen name runs."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from tdq_core.api.networks import load, load_export
from tdq_core.compression.decompose.factors import Options
from tdq_core.compression.methods import IMPLEMENTATIONS
from tdq_core.errors import InputError
from tdq_core.layers.methods import method as described
from tdq_core.models.layer_files import layer_file_name
from tdq_core.pipeline.run import run
from tdq_core.records.record import RunRecord
from tdq_core.records.store import RunStore
from tdq_core.specs import RankRule, RunSpec

PROJECT = Path(__file__).resolve().parents[2]
SAMPLES = 100


@pytest.fixture(autouse=True)
def own_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TDQ_RUNS", str(tmp_path / "runs"))


def exported(folder: Path, **options: Any) -> RunRecord:
    """The record of a run of the embedded network, with its export in `folder`."""
    if "method" in options:
        options["rule"] = RankRule("ratio", 2.0)
    spec = RunSpec.of("digits_resnet", "digits", samples=SAMPLES, calib_samples=64, **options)
    record = run(spec, store=RunStore(folder.parent / "runs"), export=folder).record
    assert record.state == "complete", record.reason
    return record


def again(folder: Path, weights: Path | None = None, **options: Any) -> RunRecord:
    spec = RunSpec.of("digits_resnet", "digits", samples=SAMPLES, weights=str(weights or folder), **options)
    record = run(spec, store=RunStore(folder.parent / "runs")).record
    assert record.state == "complete", record.reason
    return record


@pytest.mark.parametrize(
    "options, measured",
    [
        ({"method": "tucker2"}, {}),
        ({"method": "cp", "epc": True}, {}),
        ({"method": "svd", "precision": "fp16"}, {"precision": "fp16"}),
        ({}, {}),
        ({"method": "auto", "precision": "w4a8"}, {}),
        ({"precision": "w4"}, {}),
    ],
    ids=lambda each: " ".join(map(str, each.values())) or "dense",
)
def test_an_export_is_measured_again_as_it_was_recorded(
    tmp_path: Path, options: dict[str, Any], measured: dict[str, Any]
) -> None:
    first = exported(tmp_path / "out", **options)
    second = again(tmp_path / "out", **measured)
    assert first.metrics and second.metrics
    assert second.metrics.outcomes == first.metrics.outcomes
    assert (second.run_id == first.run_id) == (not options), "the untouched network is the same run again"
    if not options:
        return
    decomposed = sum(layer.method != "none" for layer in first.layers)
    (note,) = [note for note in second.notes if "TDQ exported" in note]
    assert first.run_id in note and f"{decomposed or 'no'} layers of it decomposed" in note
    if not options.get("precision"):
        assert (second.metrics.params, second.metrics.macs) == (first.metrics.params, first.metrics.macs)
    file = next((tmp_path / "out").glob("*.safetensors"))
    assert again(tmp_path / "out", file, **measured).run_id == second.run_id


@pytest.mark.parametrize("method", IMPLEMENTATIONS)
def test_the_table_names_the_stages_that_a_method_builds(method: str) -> None:
    made = IMPLEMENTATIONS[method]
    conv = nn.Conv2d(4, 4, 3, bias=False)
    ranks = (2,) * len(described(method).rank_names)
    factors = made.decompose["tdq"](conv.weight.detach(), ranks, Options())
    assert tuple(name for name, _ in made.build(conv, factors).named_children()) == made.stages


def test_grids_of_activations_are_part_of_what_names_a_run(tmp_path: Path) -> None:
    exported(tmp_path / "out", precision="w8a8")
    before = load("digits_resnet", weights=str(tmp_path / "out"))
    (file,) = (tmp_path / "out").glob("*.safetensors")
    with safe_open(file, "pt") as held:
        about = held.metadata()
    tensors = load_file(file)
    tensors["tdq.steps"] *= 2
    save_file(tensors, file, metadata=about)
    after = load("digits_resnet", weights=str(tmp_path / "out"))
    images = torch.rand(4, *before.preprocessing.input_shape, generator=torch.Generator().manual_seed(0))
    assert after.model.digest != before.model.digest
    assert not torch.equal(after(images), before(images)), "and inputs are rounded to them"


def test_without_its_ranks_the_sentence_names_the_way_out(tmp_path: Path) -> None:
    exported(tmp_path / "out", method="tucker2")
    (tmp_path / "out" / "ranks.json").unlink()
    with pytest.raises(InputError, match=r"built from the 'ranks\.json' beside their file, so give the folder"):
        load("digits_resnet", weights=str(tmp_path / "out" / "model.fp32.safetensors"))


def test_a_program_of_another_runtime_is_no_network(tmp_path: Path) -> None:
    exported(tmp_path / "out", backend="onnxruntime")
    for weights in (tmp_path / "out", next((tmp_path / "out").glob("*.onnx"))):
        with pytest.raises(InputError, match=r"a program for its runtime .* --backend torch"):
            load("digits_resnet", weights=str(weights))


def test_an_export_of_another_network_does_not_fit(tmp_path: Path) -> None:
    exported(tmp_path / "out", method="svd")
    with pytest.raises(InputError, match="do not fit the model"):
        load("resnet20_cifar10", weights=str(tmp_path / "out"))
    tensors = load_file(tmp_path / "out" / "model.fp32.safetensors")
    name = next(n for n in tensors if n.endswith(".inner.weight"))
    tensors[name] = torch.zeros(2, 2)
    save_file(tensors, tmp_path / "out" / "model.fp32.safetensors")
    with pytest.raises(InputError, match="cannot be built"):
        load("digits_resnet", weights=str(tmp_path / "out"))


def test_a_dense_file_beside_ranks_is_a_dense_network(tmp_path: Path) -> None:
    exported(tmp_path / "out", method="tucker2")
    net = load("digits_resnet", weights="random", seed=3)
    torch.save(net.module.state_dict(), tmp_path / "out" / "dense.pt")
    assert load("digits_resnet", weights=str(tmp_path / "out" / "dense.pt")).model.digest == net.model.digest


def test_an_export_is_a_torch_module_in_python(tmp_path: Path) -> None:
    record = exported(tmp_path / "out", method="tucker2")
    net = load_export(tmp_path / "out")
    assert net.params == record.metrics.params and isinstance(net.module, nn.Module)
    told = json.loads((tmp_path / "out" / "record.json").read_text())
    told["spec"]["model"] = "elsewhere.py:net"
    (tmp_path / "out" / "record.json").write_text(json.dumps(told))
    with pytest.raises(InputError, match=r"'elsewhere.py:net', whose code .* model="):
        load_export(tmp_path / "out")
    assert load_export(tmp_path / "out", model="digits_resnet").params == net.params
    (tmp_path / "out" / "record.json").unlink()
    with pytest.raises(InputError, match=r"no 'record.json'.* model="):
        load_export(tmp_path / "out")


def test_packed_integers_are_as_the_docs_say(tmp_path: Path) -> None:
    """Read with nothing but safetensors and NumPy, by docs/python.md."""
    exported(tmp_path / "out", precision="w4")
    code = re.search(r"```python\n(# Packed.*?)```", (PROJECT / "docs" / "python.md").read_text(), re.S)
    assert code
    found: dict[str, Any] = {"FILE": tmp_path / "out" / "model.w4.safetensors"}
    exec(code[1], found)
    module = load("digits_resnet", weights=str(tmp_path / "out")).module.state_dict()
    assert found["weights"] and all(
        torch.equal(torch.from_numpy(weight), module[f"{name}.weight"]) for name, weight in found["weights"].items()
    )


def test_a_chosen_set_has_a_layer_table_and_a_run_of_its_own(tmp_path: Path) -> None:
    sets = {f"seed{s}": load("digits_resnet", weights="random", seed=s).module.state_dict() for s in (1, 2)}
    torch.save(sets, path := tmp_path / "w.pt")
    specs = [RunSpec.of("digits_resnet", "digits", weights=f"{path}::{name}") for name in sets]
    names = {layer_file_name(spec) for spec in specs}
    assert len(names) == 2
    assert len({load("digits_resnet", weights=spec.model.weights).model.digest for spec in specs}) == 2
    os.utime(path, ns=(1, 1))
    assert not names & {layer_file_name(spec) for spec in specs}


def test_a_folder_has_another_table_when_a_file_in_it_changes(tmp_path: Path) -> None:
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "model.bin").write_bytes(b"one")
    spec = RunSpec.of("digits_resnet", "digits", weights=str(tmp_path / "hub"))
    before = layer_file_name(spec)
    (tmp_path / "hub" / "model.bin").write_bytes(b"two!")
    assert layer_file_name(spec) != before


def test_ranks_of_another_export_are_noticed(tmp_path: Path) -> None:
    exported(tmp_path / "out", method="svd")
    ranks = json.loads((tmp_path / "out" / "ranks.json").read_text())
    (tmp_path / "out" / "ranks.json").write_text(json.dumps(dict.fromkeys(ranks)))
    with pytest.raises(InputError, match="belong to different exports"):
        load("digits_resnet", weights=str(tmp_path / "out"))
