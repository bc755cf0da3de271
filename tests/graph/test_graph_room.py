"""The law of the room: outside of it nothing hooks modules, walks over them or replaces them."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ENGINE = Path(__file__).resolve().parents[2] / "tdq_core"
ROOM = ENGINE / "graph"

METHODS = re.compile("register_.*hook|(named_)?(modules|children)|apply|set_submodule|(add|register)_module")
FUNCTIONS = re.compile("setattr|delattr|symbolic_trace")
"""Calls of these names walk over modules, hook them or replace them."""
NAMED = re.compile("_modules|_(forward|backward)(_pre)?_hooks.*|Torch(Function|Dispatch)Mode|.*flop_counter.*")
"""Whoever reads or imports these does so behind the room's back."""

EXEMPT = {
    ("models/initial.py", "modules"): "gives starting weights to a network that its own factory has just made",
    ("compression/decompose/modules.py", "named_children"): "reads the stages of a layer that it has just made itself",
    ("compression/quantize/torch_int8.py", "delattr"): "drops weights of a program that it has just exported itself",
}


def offences(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute) and METHODS.fullmatch(node.func.attr):
                yield node.func.attr
            elif isinstance(node.func, ast.Name) and FUNCTIONS.fullmatch(node.func.id):
                yield node.func.id
        elif isinstance(node, ast.Attribute):
            if NAMED.fullmatch(node.attr) or (node.attr == "forward" and isinstance(node.ctx, ast.Store | ast.Del)):
                yield node.attr
        elif isinstance(node, ast.ImportFrom | ast.Import):
            names = [*(alias.name for alias in node.names), getattr(node, "module", None) or ""]
            yield from (name for name in names if NAMED.fullmatch(name))


def test_outside_the_room_nothing_hooks_walks_or_replaces() -> None:
    found = {
        (str(path.relative_to(ENGINE)), offence)
        for path in sorted(ENGINE.rglob("*.py"))
        if not path.is_relative_to(ROOM)
        for offence in offences(ast.parse(path.read_text()))
    }
    assert found - EXEMPT.keys() == set(), "ask `tdq_core.graph`, or say here why not"
    assert EXEMPT.keys() - found == set(), "these exemptions are not needed any more"


@pytest.mark.parametrize(
    "line",
    [
        "layer.register_forward_pre_hook(see)",
        "module.register_full_backward_hook(see)",
        "handles = [m.register_forward_hook(f) for m in layers]",
        "for name, module in model.named_modules(): pass",
        "norms = [m for m in model.modules()]",
        "list(module.children())",
        "model.apply(initialise)",
        "model.set_submodule('a', made)",
        "setattr(model, name, made)",
        "block.forward = skip",
        "del block.forward",
        "model._modules['a'] = made",
        "module._forward_hooks.clear()",
        "from torch.overrides import TorchFunctionMode",
        "import torch.utils.flop_counter",
        "class See(torch.utils._python_dispatch.TorchDispatchMode): pass",
    ],
)
def test_the_law_sees(line: str) -> None:
    assert list(offences(ast.parse(line)))


@pytest.mark.parametrize(
    "line", ["sys.modules[name] = module", "self.forward(x)", "model.get_submodule(name)", "x = 1"]
)
def test_the_law_lets_pass(line: str) -> None:
    assert not list(offences(ast.parse(line)))


def test_the_room_knows_only_what_lies_below_it() -> None:
    below = ("errors", "graph", "layers", "specs", "stats", "system")
    imported = {
        node.module.split(".")[1]
        for path in ROOM.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tdq_core.")
    }
    assert imported <= set(below) and "layers" in imported
