"""A model is named by the code that runs: it changes when any file that is imported does, and only then."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tdq_core.models.layer_files import layer_file_name
from tdq_core.models.loading import LoadedModel, load_model
from tdq_core.models.sources import named_sources
from tdq_core.models.wrapped import wrapped
from tdq_core.specs import ModelSpec, RunSpec

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")  # what torch.export loads

FILES = {
    "main.py": """
import os, sys
from torch import nn
from near import bend
import kit.parts
sys.path.append(os.path.join(os.path.dirname(__file__), "..", "beside"))

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = kit.parts.conv(), nn.Linear(4, 3)

    def forward(self, x):
        from late import turn
        return self.head(turn(bend(self.conv(x))).mean((2, 3)))

def net():
    from shelf import WIDTH
    assert WIDTH == 4
    return Net()
""",
    "near.py": "def bend(x): return x.relu()\n",
    "late.py": "def turn(x): return 2 * x\n",
    "kit/__init__.py": "",
    "kit/parts.py": "from .made import conv\n",
    "kit/made.py": "import importlib\ndef conv(): return importlib.import_module('kit.' + 'by_name').conv()\n",
    "kit/by_name.py": "from torch import nn\ndef conv(): return nn.Conv2d(3, 4, 3)\n",
    "../beside/shelf.py": "WIDTH = 4\n",
    "unused.py": "",
}
IMPORTED = [name for name in FILES if name != "unused.py"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "project"
    for name, text in FILES.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    monkeypatch.chdir(place)
    return place


def opened(model: str) -> LoadedModel:
    return load_model(ModelSpec(model, input_size=(8, 8)))


def names(model: str) -> tuple[str, str]:
    return opened(model).digest, layer_file_name(RunSpec.of(model, "digits", input_size=(8, 8)))


@pytest.mark.parametrize("file", IMPORTED)
def test_a_change_of_any_file_that_is_imported_changes_every_name(folder: Path, file: str) -> None:
    before = names("main.py:net"), names("main:net")
    (folder / file).write_text((folder / file).read_text() + "\n")
    after = names("main.py:net"), names("main:net")
    for old, new in zip(before, after, strict=True):
        assert old[0] != new[0] and old[1] != new[1]


def test_what_is_not_imported_does_not_count_nor_does_the_place(folder: Path, tmp_path: Path) -> None:
    (folder / "kit" / "made.py").write_text("from .by_name import conv\n")
    before = names("main.py:net")
    (folder / "unused.py").write_text("1 + 1\n")
    assert names("main.py:net") == before
    shutil.copytree(folder, tmp_path / "moved" / "project")
    shutil.copytree(folder.parent / "beside", tmp_path / "moved" / "beside")
    assert opened(f"{tmp_path}/moved/project/main.py:net").digest == before[0]


def test_the_code_that_is_named_is_the_code_that_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same size in the same second: bytecode and modules that were imported before would not notice."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "pycache_prefix", None)
    x = torch.randn(2, 3, 8, 8)
    first = opened("main.py:net").module
    stamp = (folder / "near.py").stat().st_mtime_ns
    (folder / "near.py").write_text(FILES["near.py"].replace("relu", "tanh"))
    os.utime(folder / "near.py", ns=(stamp, stamp + 1))
    second = opened("main.py:net").module
    (folder / "near.py").write_text(FILES["near.py"])
    third = opened("main.py:net").module
    assert torch.equal(first(x), third(x)) and not torch.equal(first(x), second(x))


def test_models_do_not_see_each_others_modules(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    (other / "late.py").write_text("def turn(x): return 3 * x\n")
    one, two = opened("main.py:net").module, opened(f"{other}/main.py:net").module
    one.head.bias.zero_(), two.load_state_dict(one.state_dict())
    x = torch.randn(2, 3, 8, 8)
    for _ in range(2):  # in turn: `late` is imported whenever the model runs
        torch.testing.assert_close(3 * one(x), 2 * two(x))
    assert not {"near", "late", "kit", "shelf"} & set(sys.modules) and str(folder) not in sys.path


def test_what_is_imported_when_the_model_runs_can_be_exported(folder: Path) -> None:
    module, x = opened("main.py:net").module, torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(torch.export.export(module, (x,), strict=True).module()(x), module(x))


def test_a_module_of_the_caller_is_left_alone(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "near.py").write_text("MINE = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    near: object = __import__("near")
    opened("main.py:net")
    assert sys.modules.pop("near") is near


def test_libraries_count_by_their_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    sources = named_sources("torchvision.models:resnet18")
    assert not sources.files and [name.partition("@")[0] for name in sources.libraries] == ["torchvision"]
    monkeypatch.setattr("tdq_core.models.sources.distribution", lambda top: f"{top}@other")
    assert named_sources("torchvision.models:resnet18").digest() != sources.digest()


def test_a_module_in_hand_is_named_by_the_files_of_its_classes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(folder)
    make: Callable[[], torch.nn.Module] = __import__("main").net
    monkeypatch.syspath_prepend(folder.parent / "beside")
    torch.manual_seed(0)
    module = make()
    before = wrapped(module, size=8).digest
    assert wrapped(module, size=8).digest == before
    (folder / "near.py").write_text("# changed\n" + FILES["near.py"])
    assert wrapped(module, size=8).digest != before
    for name in ("main", "near", "late", "kit", "kit.parts", "kit.made", "kit.by_name", "shelf"):
        sys.modules.pop(name, None)
