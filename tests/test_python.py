"""TDQ from Python: what a module in hand gets, and that it stays as it is."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import tdq_core as tdq
from tdq_core.pipeline.session import Session
from tdq_core.records.store import RunStore, shipped_folder

SCRIPT = Path(__file__).resolve().parent.parent / "docs" / "examples" / "twenty_lines.py"


def net() -> nn.Sequential:
    generator = torch.Generator().manual_seed(3)
    made = nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 16, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5),
    )  # fmt: skip
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(0, 0.3, generator=generator)
    return made


def pictures(count: int = 24) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    return torch.randn(count, 3, 12, 12, generator=generator), torch.arange(count) % 5


def given() -> tuple[tdq.Network, tdq.ImagePair]:
    return tdq.wrap(net(), size=12), tdq.images(pictures(), calib=pictures()[0])


def test_the_twenty_lines_run_anywhere(tmp_path):
    """As a stranger would: another folder, another process; under twenty statements."""
    code = [line for line in SCRIPT.read_text().splitlines()[2:] if line.strip()]
    assert len(code) <= 20
    environment = os.environ | {"TDQ_RUNS": str(tmp_path / "runs")}
    done = subprocess.run([sys.executable, SCRIPT], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "top-1 0.9" in done.stdout and done.stdout.rstrip().endswith("32 complete")


def test_no_verb_changes_what_it_is_given():
    """Train mode, hooks, gradients, values and the modules themselves: all as before."""
    module = net().train()
    module[0].register_forward_hook(lambda *_: None)
    module[3].weight.requires_grad_(False)
    parts, values = list(module.modules()), {k: v.clone() for k, v in module.state_dict().items()}
    own, images = tdq.wrap(module, size=12), tdq.images(pictures(), calib=pictures()[0])
    plan = tdq.plan(own, "tucker2", ratio=1.3, keep_ends=False)
    small = tdq.compress(own, plan, fit=images.calib, reestimate_bn=images.calib)
    before = own(pictures()[0])
    tdq.measure(tdq.quantize(small, "int8", calib=images.calib, backend="onnxruntime"), images, against=own)
    assert list(module.modules()) == parts and module.training and not module[3].weight.requires_grad
    assert len(module[0]._forward_hooks) == 1
    assert all(torch.equal(v, values[k]) for k, v in module.state_dict().items())
    assert torch.equal(own(pictures()[0]), before), "nor is the network"
    assert small.params < own.params == sum(p.numel() for p in module.parameters())


def test_equal_modules_are_the_same_network_and_others_are_not():
    one, same, other = net(), net(), net()
    with torch.no_grad():
        other[0].bias[0] += 1
    names = [tdq.wrap(m, size=12).model.digest for m in (one, same, other)]
    assert names[0] == names[1] != names[2]
    assert tdq.wrap(one, size=12).model.digest != tdq.wrap(one, size=14).model.digest


def test_images_are_the_same_in_any_form():
    shown, labels = pictures()
    pairs = torch.utils.data.TensorDataset(shown, labels)
    forms = [
        (shown, labels),
        torch.utils.data.DataLoader(pairs, batch_size=7),
        [(shown[:5], labels[:5]), (shown[5:], labels[5:])],
    ]
    assert len({tdq.images(form).eval.digest for form in forms}) == 1
    scores = [tdq.measure(tdq.wrap(net(), size=12), tdq.images(form)).top1 for form in forms]
    assert len(set(scores)) == 1
    assert scores[0] == (net().eval()(shown).argmax(1) == labels).double().mean()


def test_a_run_of_a_module_in_hand_is_kept_and_found(tmp_path):
    own, images = given()
    ask = {"method": "svd", "ratio": 1.3, "store": RunStore(tmp_path)}
    first, again = tdq.run(own, images, **ask), tdq.run(own, images, **ask)
    assert (first.reused, again.reused) == (False, True) and first.record == again.record
    assert first.record.state == "complete" and "no command measures this run again" in " ".join(first.record.notes)
    frame = tdq.runs(tmp_path).frame()
    assert list(frame["method"].sort_values()) == ["none", "svd"] and len(frame) == len(tdq.runs(tmp_path)) == 2


def test_by_its_name_a_network_gets_the_runs_of_the_command_line():
    done = tdq.run(tdq.load("digits_resnet"), tdq.images("digits"), method="tucker2", ratio=2)
    assert done.reused and RunStore(shipped_folder()).get(done.record.run_id) is not None


def test_without_pandas_there_is_a_sentence_and_still_csv(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(tdq.InputError, match=r"A frame needs pandas, .*pip install 'tdq\[dashboard\]'"):
        tdq.runs(tmp_path).frame()
    assert tdq.runs(tmp_path).csv().startswith("run_id")


WRONG = {
    "nothing that is a module": lambda: tdq.wrap("resnet18", size=32),
    "a size that does not fit": lambda: tdq.wrap(net(), size=0),
    "no such network": lambda: tdq.load("resnet19"),
    "no such images": lambda: tdq.images("nowhere"),
    "no images": lambda: tdq.images(7),
    "labels that do not fit": lambda: tdq.images((pictures()[0], torch.arange(3))),
    "two rules": lambda: tdq.plan(given()[0], "tucker2", ratio=2, energy=0.5),
    "no such method": lambda: tdq.plan(given()[0], "tucker3", ratio=2),
    "no such layer": lambda: tdq.plan(given()[0], "svd", ranks={"99": 2}),
    "no such precision": lambda: tdq.quantize(given()[0], "int7.5"),
    "no such backend": lambda: tdq.quantize(given()[0], "int8", backend="tensorrt", calib=given()[1].calib),
    "INT8 without images": lambda: tdq.quantize(given()[0], "int8"),
    "no labels": lambda: tdq.measure(given()[0], tdq.images(pictures()[0])),
    "no such option": lambda: tdq.run(*given(), methd="svd"),
    "a run of what is compressed": lambda: tdq.run(
        tdq.compress(given()[0], tdq.plan(given()[0], "svd", ratio=1.2)), given()[1], method="svd", ratio=2
    ),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_wrong_requests_are_one_sentence_about_the_argument(wrong: Callable[[], object]):
    with pytest.raises(tdq.InputError) as said:
        wrong()
    assert " --" not in str(said.value), "an option of the command line"
    assert "\n" not in str(said.value)


def runs_of(session: Session | None, folder: Path) -> list[tdq.RunSpec]:
    """A ratio, then the same ranks by hand, then in INT8: what each record says of its layers."""
    ratio = tdq.RunSpec.of(
        "digits_resnet", "digits", samples=50, calib_samples=32, method="tucker2", rule=tdq.RankRule("ratio", 2.0)
    )
    store = RunStore(folder)
    first = tdq.run(ratio, store=store, session=session).record
    ranks = {part.name: part.ranks for part in first.layers if part.ranks}
    by_hand = ratio.changed(rule=tdq.RankRule("manual", ranks={n: list(r) for n, r in ranks.items()}))
    asked = [
        by_hand,
        by_hand.changed(precision="int8", backend="onnxruntime"),
        ratio.changed(precision="int8", backend="onnxruntime"),
    ]
    return [first, *(tdq.run(spec, store=store, session=session).record for spec in asked)]


def test_a_cold_session_gives_what_a_warm_one_gives(tmp_path):
    warm, cold = runs_of(Session(), tmp_path / "warm"), runs_of(None, tmp_path / "cold")
    for one, other in zip(warm, cold, strict=True):
        assert one.run_id == other.run_id
        assert one.layers == other.layers, "own reasons, own details"
        assert one.metrics.outcomes == other.metrics.outcomes
    reasons = [{part.name: part.skipped_because for part in record.layers} for record in warm]
    assert reasons[0] != reasons[1], "chosen by a ratio is another reason than by hand"


def test_bits_of_single_layers_are_planned_and_kept_in_the_file():
    own, images = given()
    plan = tdq.plan(own, "tucker2", ranks={"3": [6, 5]}, precision="w4a8", bits={"3": 3, "7": 6})
    assert plan.bits == {"0": 8, "3": 3, "7": 6} and plan.bytes
    small = tdq.compress(own, plan, fit=images.calib)
    for aware in (False, True):
        options = {"calib": images.calib, "quantization_aware": aware}
        made = tdq.quantize(small, "w4a8", bits=plan.bits, **options)
        assert made.bytes == plan.bytes
        assert {name.partition(".")[0]: b for name, b in made.artefact.details["weight_bits"].items()} == plan.bits
        named = tdq.quantize(small, "w4a8", bits={"3*": 3, "7": 6}, **options)
        assert torch.equal(named(pictures()[0]), made(pictures()[0]))
    dense = tdq.quantize(own, "w8", bits={"*": 2})
    assert dense.artefact.details["weight_bits"] == {"0": 8, "3": 2, "7": 8}
    for bits, precision, told in (({"9": 4}, "w4", "does not have"), ({"*": 4}, "int8", "simulated weights")):
        with pytest.raises(tdq.InputError, match=told):
            tdq.quantize(own, precision, bits=bits, calib=images.calib)
        with pytest.raises(tdq.InputError, match=told):
            tdq.plan(own, "svd", ratio=1.2, precision=precision, bits=bits)
