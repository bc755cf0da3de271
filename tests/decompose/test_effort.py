"""How long CP is looked for: more effort never ends worse on these kernels, and only CP has it."""

from pathlib import Path

import pytest
import torch

from tdq_core.compression.decompose.factors import Options
from tdq_core.compression.decompose.ladder import rung_below
from tdq_core.compression.decompose.linalg import rel_error
from tdq_core.compression.memory import Memory, Wanted
from tdq_core.compression.methods import decompose
from tdq_core.errors import InputError
from tdq_core.specs import RankRule, RunSpec
from tdq_core.specs.choices import EFFORTS
from tdq_core.system.cache import Cache

KERNEL = torch.randn(14, 12, 3, 3, generator=torch.Generator().manual_seed(4)) + 0.5


def options(name: str, eta: float | None = 0.0) -> Options:
    return Options(eta=eta, effort=EFFORTS[name].times, climbs=EFFORTS[name].climbs)


@pytest.mark.parametrize("eta", [None, 0.0])
def test_more_effort_tries_more_and_finds_as_good_or_better(eta: float | None) -> None:
    made = [decompose(KERNEL, "cp", (20,), options(name, eta)) for name in EFFORTS]
    errors = [rel_error(KERNEL, each.to_weight()) for each in made]
    assert [each.starts for each in made] == [1, 3, 12]
    assert errors[2] <= errors[1] * (1.01 if eta is None else 1) and errors[0] <= errors[1] * 1.15


def test_rungs_double() -> None:
    assert [rung_below(r) for r in (1, 8, 9, 16, 17, 32, 33, 500)] == [None, None, 8, 8, 16, 16, 32, 256]


@pytest.mark.parametrize("groups", [1, 2])
def test_quick_factors_do_not_depend_on_what_was_asked_before(tmp_path: Path, groups: int) -> None:
    """Neither on what is kept, nor on the order, nor on who finds the rungs."""
    alone = decompose(KERNEL, "cp", (20,), options("quick"), groups=groups).to_weight()
    memory, again = Memory(Cache(tmp_path)), Memory(Cache(tmp_path))
    wanted = [Wanted(KERNEL, "cp", (rank,), options("quick"), groups) for rank in (11, 20)]
    assert torch.equal(memory.find(wanted)[1].to_weight(), alone)
    assert torch.equal(again.find(wanted[::-1])[0].to_weight(), alone)


def test_a_second_rank_finds_only_what_stands_on_the_rungs(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def counted(weight: torch.Tensor, method: str, ranks: tuple[int, ...], *rest: object, **more: object) -> object:
        asked.append(*ranks)
        return decompose(weight, method, ranks, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr("tdq_core.compression.memory.decompose", counted)
    memory = Memory()
    for rank in (20, 30, 18):
        memory.factors(KERNEL, "cp", (rank,), options("quick"))
    assert asked == [8, 16, 20, 30, 18]


def test_a_kernel_of_zeros_grows_too() -> None:
    assert not decompose(KERNEL * 0, "cp", (20,), options("quick")).to_weight().any()


def test_the_usual_effort_is_what_it_always_was() -> None:
    weight = torch.randn(8, 7, 3, 3, generator=torch.Generator().manual_seed(1))
    one, other = (decompose(weight, "cp", (6,), each) for each in (Options(eta=0.0), options("usual")))
    assert torch.equal(one.to_weight(), other.to_weight())
    plain = RunSpec.of("m", "digits", method="cp", rule=RankRule("ratio", 2.0))
    assert "effort" not in plain.to_dict() and plain.changed(effort="quick").to_dict()["effort"] == "quick"


@pytest.mark.parametrize("other", [{"method": "tucker2"}, {"method": "cp", "solver": "tensorly"}])
def test_only_cps_own_search_has_an_effort(other: dict[str, str]) -> None:
    with pytest.raises(InputError, match="CP's own search"):
        RunSpec.of("m", "digits", rule=RankRule("ratio", 2.0), effort="quick", **other)
