"""How long CP is looked for: more effort never ends worse on these kernels, and only CP has it."""

import pytest
import torch

from tdq_core.compression.decompose.factors import Options
from tdq_core.compression.decompose.linalg import rel_error
from tdq_core.compression.methods import decompose
from tdq_core.errors import InputError
from tdq_core.specs import RankRule, RunSpec
from tdq_core.specs.choices import EFFORTS


@pytest.mark.parametrize("eta", [None, 0.0])
def test_more_effort_tries_more_and_finds_as_good_or_better(eta: float | None) -> None:
    weight = torch.randn(14, 12, 3, 3, generator=torch.Generator().manual_seed(4)) + 0.5
    made = [decompose(weight, "cp", (10,), Options(eta=eta, effort=each.times)) for each in EFFORTS.values()]
    errors = [rel_error(weight, each.to_weight()) for each in made]
    assert [each.starts for each in made] == [1, 3, 12]
    assert errors[2] <= errors[1] * 1.01 and errors[1] <= errors[0] * 1.01
    if eta is not None:
        assert [each.epc_rounds for each in made] == [4, 16, 64]


def test_the_usual_effort_is_what_it_always_was() -> None:
    weight = torch.randn(8, 7, 3, 3, generator=torch.Generator().manual_seed(1))
    one, other = (decompose(weight, "cp", (6,), options) for options in (Options(), Options(effort=1.0)))
    assert torch.equal(one.to_weight(), other.to_weight())
    plain = RunSpec.of("m", "digits", method="cp", rule=RankRule("ratio", 2.0))
    assert "effort" not in plain.to_dict() and plain.changed(effort="quick").to_dict()["effort"] == "quick"


@pytest.mark.parametrize("options", [{"method": "tucker2"}, {"method": "cp", "solver": "tensorly"}])
def test_only_cps_own_search_has_an_effort(options: dict[str, str]) -> None:
    with pytest.raises(InputError, match="CP's own search"):
        RunSpec.of("m", "digits", rule=RankRule("ratio", 2.0), effort="quick", **options)
