"""Bits of single layers by hand: who is meant, what is planned, counted and written, and what is no bits at all."""

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from strategies import BITS_BY_HAND
from test_bytes import NETS, chain, chained, images, net_of, table_of
from test_bytes import by_hand as smallest
from torch import nn

from tdq_core.compression.decompose.modules import apply_plan
from tdq_core.compression.quantize import Request, realise
from tdq_core.compression.quantize.simulated_file import load_simulated
from tdq_core.compression.quantize.weight_grid import RoundedWeight
from tdq_core.errors import InputError, Refused
from tdq_core.layers.table import LayerTable
from tdq_core.ranks.bits import END_BITS
from tdq_core.ranks.plan import Plan, make_plan
from tdq_core.specs import PrecisionSpec, RankRule, RunSpec
from tdq_core.specs.bits import bits_text, checked_bits, fits, read_bits, said_of
from tdq_core.specs.choices import POLICIES

__all__ = ["chained"]
NAMES = st.text("ab.1", max_size=6)
PATTERNS = st.text("ab.1*", max_size=8)


@given(pattern=PATTERNS, name=NAMES)
@example(pattern="*a*a*", name="a")
@example(pattern="a*a", name="a")
def test_a_star_stands_for_any_text(pattern: str, name: str) -> None:
    wanted = re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name)
    assert fits(pattern, name) == bool(wanted)


@given(bits=st.dictionaries(PATTERNS, st.integers(2, 8), max_size=4), name=NAMES, end=st.booleans())
def test_the_one_that_says_most_counts_and_ends_are_named_in_full(bits: dict[str, int], name: str, end: bool) -> None:
    try:
        found = said_of(bits, name, end=end)
    except InputError as error:
        assert "said twice" in str(error) and name not in bits and not end
        return
    reached = {p: b for p, b in bits.items() if p == name or (not end and "*" in p and fits(p, name))}
    if name in bits:
        assert found == bits[name]
    elif not reached:
        assert found is None
    else:
        assert found in {b for p, b in reached.items() if len(p.replace("*", "")) == max(
            len(p.replace("*", "")) for p in reached)}  # fmt: skip


@given(BITS_BY_HAND)
def test_a_command_says_the_bits_and_no_others(bits: dict[str, int]) -> None:
    assert read_bits(bits_text(checked_bits(bits))) == bits
    numbers = PrecisionSpec("w4", bits=bits)
    assert numbers == PrecisionSpec("w4", bits=dict(reversed(bits.items()))) and list(numbers.bits) == sorted(bits)
    assert hash(numbers) == hash(PrecisionSpec("w4", bits=dict(reversed(bits.items()))))


@given(text=st.text(max_size=40) | st.text('{}":*,0123456789[]ab', max_size=40))
def test_whatever_a_command_says_is_bits_or_one_sentence(text: str) -> None:
    try:
        found = read_bits(text)
    except InputError as error:
        assert "\n" not in str(error).replace(text, "")
        return
    assert found in ("same", "auto") or checked_bits(found) == found


@pytest.mark.parametrize(
    "bits", [{}, {"a": 1}, {"a": 9}, {"a": 4.0}, {"a": True}, {"a": None}, {"a": "4"}, {1: 4}, [4], 4, None, "by hand"]
)
def test_what_is_no_bits_is_a_sentence(bits: object) -> None:
    with pytest.raises(InputError, match=r"[Bb]its.*Got"):
        PrecisionSpec("w4", bits=bits)


def some_bits(table: LayerTable) -> dict[str, int]:
    """Every number of bits in turn, both ends named too."""
    packed = [la.name for la in table.layers if la.name in table.files.packed and la.name not in table.files.tied]
    return {name: 2 + (3 * at) % 7 for at, name in enumerate(packed)}


@pytest.mark.parametrize("method", ["none", "tucker2", "cp", "auto"])
@pytest.mark.parametrize("kind", NETS)
def test_what_is_planned_is_what_the_file_has(kind: str, method: str, tmp_path: Path) -> None:
    net = net_of(kind)
    table = table_of(net)
    for precision in (PrecisionSpec("w4a8", bits=some_bits(table)), PrecisionSpec("w8", bits={"*": 3})):
        rule = None if method == "none" else smallest(table, method)
        try:
            plan = make_plan(table, method, rule, precision)
        except Refused:
            return
        module = apply_plan(net, plan)[0] if plan.decomposed() else net
        request = Request(images(4), lambda: [images(8)], tmp_path, bits=plan.bits)
        artefact = realise(module, precision.name, "torch", request=request)
        assert artefact.bytes == plan.bytes
        require_bits(plan, load_simulated(artefact.path).weights, precision.numbers.weight_bits)


def require_bits(plan: Plan, stored: Mapping[str, RoundedWeight], usual: int) -> None:
    """Every weight of the file has the bits of its layer; at a decomposed end the outermost keeps its own."""
    for part in plan.layers:
        own = [
            w.bits for name, w in stored.items() if name == part.layer.name or name.startswith(f"{part.layer.name}.")
        ]
        inner = [part.bits or usual] * len(own)
        if part.layer.end and part.method != "none":
            inner[0 if part.layer.end == "first" else -1] = END_BITS
        assert own == inner


@pytest.mark.parametrize("name", ["w8", "w4a8", "w3", "w2"])
@pytest.mark.parametrize("rule", [None, RankRule("ratio", 1.5), RankRule("ratio", 16.0, budget="bytes")])
def test_the_same_bits_for_all_by_hand_are_the_precision(chained: LayerTable, name: str, rule: RankRule | None) -> None:
    method = "tucker2" if rule else "none"
    usual = PrecisionSpec(name)
    everywhere = PrecisionSpec(name, bits={"*": usual.numbers.weight_bits})
    one, other = (make_plan(chained, method, rule, numbers) for numbers in (usual, everywhere))
    assert one.bytes == other.bytes
    assert [(p.method, p.ranks) for p in one.layers] == [(p.method, p.ranks) for p in other.layers]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(("name", "usual", "ratio"), [("w4a8", 3, 12.0), ("w3a8", 6, 7.0), ("w2", 8, 6.0)])
def test_a_budget_of_bytes_counts_them(chained: LayerTable, policy: str, name: str, usual: int, ratio: float) -> None:
    """More bits than the precision's as well as fewer."""
    bits = {"*": usual, chained.layers[1].name: 8, chained.layers[-1].name: 5, chained.layers[2].name: 2}
    rule = RankRule("ratio", ratio, policy=policy, budget="bytes")
    plan = make_plan(chained, "tucker2", rule, PrecisionSpec(name, bits=bits))
    assert chained.files.fp32 / plan.bytes >= ratio
    assert {name: plan.bits[name] for name in bits if name != "*"} == {n: b for n, b in bits.items() if n != "*"}
    if policy == "uniform":
        assert chained.files.fp32 / plan.bytes < 1.02 * ratio


@pytest.mark.parametrize("aware", [False, True])
def test_bits_that_were_chosen_are_those_of_the_same_plan_by_hand(
    chained: LayerTable, tmp_path: Path, aware: bool
) -> None:
    """Ends that are decomposed too: there the outermost weight has bits of its own either way."""
    rule = RankRule("ratio", 10, budget="bytes", policy="global", keep_ends=False)
    chosen = make_plan(chained, "auto", rule, PrecisionSpec("w8a8", bits="auto"))
    ranks = RankRule("manual", ranks={p.layer.name: p.ranks for p in chosen.decomposed()})
    given = make_plan(chained, "auto", ranks, PrecisionSpec("w8a8", bits=chosen.bits))
    assert given.bits == chosen.bits and given.bytes == chosen.bytes
    module, contents = apply_plan(chain(), chosen)[0], []
    for plan in (chosen, given):
        folder = tmp_path / str(len(contents))
        request = Request(images(4), lambda: [images(16)], folder, bits=plan.bits, aware=aware)
        contents.append(realise(module, "w8a8", "torch", request=request).path.read_bytes())
    assert contents[0] == contents[1]


@pytest.mark.parametrize(
    ("bits", "told"),
    [({"nowhere": 4}, "does not have; its layers are 0"), ({"x*": 4}, "fit no layer of 'net';"),
     ({"0*": 4}, "fit no layer of 'net' but the first and the last, which keep"),
     ({"1": 4}, "no plain convolution or linear layer and stays in fp32")],
)  # fmt: skip
def test_what_has_no_bits_is_one_sentence(bits: dict[str, int], told: str) -> None:
    table = table_of(net_of("a layer of its own kind"))
    with pytest.raises(InputError, match=re.escape(told)) as found:
        make_plan(table, "none", None, PrecisionSpec("w4", bits=bits))
    assert "\n" not in str(found.value)


class Tied(nn.Module):
    """Two layers of one weight."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.head = nn.Conv2d(3, 8, 1), nn.Linear(8, 10)
        self.one, self.two = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.two.weight = self.one.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.two(torch.relu(self.one(self.stem(x))))).mean((2, 3)))


def test_layers_of_one_weight_have_the_same_bits() -> None:
    table = table_of(Tied().eval())
    plan = make_plan(table, "none", None, PrecisionSpec("w4", bits={"one": 6, "*": 3}))
    assert (plan.bits["one"], plan.bits["two"]) == (6, 6)
    with pytest.raises(InputError, match="'two', whose weight is that of 'one': name that one"):
        make_plan(table, "none", None, PrecisionSpec("w4", bits={"two": 6}))
    rule = RankRule("ratio", 5, budget="bytes", policy="global")
    spectra = tuple(dataclasses.replace(la, spectrum_out=(1.0,), spectrum_in=(1.0,)) for la in table.layers)
    with pytest.raises(InputError, match="the weight of 'two' is that of 'one': give bits by hand"):
        make_plan(dataclasses.replace(table, layers=spectra), "tucker2", rule, PrecisionSpec("w8", bits="auto"))


def test_a_table_that_does_not_know_the_files_plans_no_bytes(chained: LayerTable) -> None:
    bare = dataclasses.replace(chained, files=None)
    plan = make_plan(bare, "none", None, PrecisionSpec("w4", bits={"*": 3}))
    assert plan.bytes is None and set(plan.bits) == {la.name for la in chained.layers}


@pytest.mark.parametrize("changed", [{"precision": "int8"}, {"precision": "fp32"}, {"finetune": 10}])
def test_bits_without_effect_are_one_sentence(changed: dict[str, object]) -> None:
    asked = {"method": "tucker2", "rule": RankRule("ratio", 2.0), "precision": "w4", "bits": {"*": 3}}
    spec = RunSpec.of("digits_resnet", "digits", **asked)
    assert json.loads(json.dumps(spec.to_dict()))["bits"] == {"*": 3}
    with pytest.raises(InputError, match=r"'bits' of single layers.*Got bits = \{\"\*\": 3\}") as told:
        RunSpec.of("digits_resnet", "digits", **(asked | changed))
    assert "\n" not in str(told.value)
