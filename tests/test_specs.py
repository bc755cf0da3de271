"""A run's spec as JSON, as a key and as a name: equal specs are the same run, and no shipped run has lost its name."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from strategies import flat_specs, of_field, specs

from tdq_core.analysis.components import STUDIES, study_id
from tdq_core.errors import InputError
from tdq_core.records.record import RunRecord
from tdq_core.records.store import RunStore, Store, shipped_folder
from tdq_core.specs import RankRule, RunSpec
from tdq_core.specs.rank_rule import RULES
from tdq_core.specs.run import SCHEMA_1, defaults, fields

GOLDEN = Path(__file__).with_name("golden_ids.txt")
"""`run` or `study`, and the id, of everything that comes with the project, as released before specs were specs of
specs. An id that changes makes a stranger of a measured run: this file only ever grows."""
DIGESTS = {"model": "m", "data": "d", "calib": "c"}


@given(specs())
def test_json_gives_the_spec_back(spec: RunSpec) -> None:
    plain = json.loads(json.dumps(spec.to_dict(), allow_nan=False))
    assert RunSpec.recorded(plain) == RunSpec.from_dict(plain) == spec
    assert plain == RunSpec.recorded(plain).to_dict() and set(SCHEMA_1) <= set(plain)


@pytest.mark.parametrize("kind", [None, *RULES])
@given(st.data(), st.randoms(use_true_random=False))
def test_equal_specs_are_one_run_however_their_numbers_are_written(
    kind: str | None, data: st.DataObject, random: Any
) -> None:
    flat = data.draw(flat_specs([kind]))
    one, other = RunSpec.from_flat(flat), RunSpec.from_flat({k: otherwise(v, random) for k, v in flat.items()})
    assert one == other and hash(one) == hash(other) and len({one, other}) == 1
    assert one.run_id(DIGESTS) == other.run_id(DIGESTS)
    assert json.dumps(one.to_dict()) == json.dumps(other.to_dict()), "not only equal: written alike"


def otherwise(value: Any, random: Any) -> Any:
    """The same value as another type that people hand over: numpy's numbers, lists, whole floats as ints."""
    if isinstance(value, RankRule):
        return structs.replace(value, value=otherwise(value.value, random), ranks=otherwise(value.ranks, random))
    if isinstance(value, dict):
        return {name: otherwise(v, random) for name, v in reversed(value.items())}
    if isinstance(value, tuple):
        return [int(v) if v == int(v) else v for v in value]
    if value == 0 and isinstance(value, float):
        return random.choice([0.0, -0.0, 0])
    if isinstance(value, float):
        return random.choice([np.float64, float] + [int] * (value == int(value)))(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return np.int64(value) if abs(value) < 2**63 else value
    return value


@given(st.data())
def test_a_field_that_is_part_of_the_name_gives_another_name_and_a_place_does_not(data: st.DataObject) -> None:
    flat = data.draw(flat_specs())
    field = data.draw(st.sampled_from([f for f in fields() if f.key not in ("method", "condition")]))
    one = RunSpec.from_flat(flat)
    try:
        other = RunSpec.from_flat(flat | {field.key: data.draw(of_field(field))})
    except InputError:
        return  # it has no effect beside the others
    same = one == other or not field.option.named
    assert (one.run_id(DIGESTS) == other.run_id(DIGESTS)) == same


@pytest.mark.parametrize("field", fields(), ids=lambda f: f.key)
def test_what_is_left_out_is_at_its_default(field: Any) -> None:
    bare = RunSpec.from_dict({"model": "m", "data": "d"})
    assert bare == RunSpec.of("m", "d")
    assert bare.to_flat()[field.key] == {"model": "m", "data": "d"}.get(field.key, defaults()[field.key])


def test_what_an_older_version_left_out_is_what_it_did() -> None:
    """There was no conditioning before there was a field for it, and EPC's eta had another default."""
    made = {"model": "m", "data": "d", "method": "cp", "rule": {"kind": "ratio", "value": 2.0}, "precision": "int8"}
    old = RunSpec.recorded(made)
    assert not old.treatment.condition and RunSpec.from_dict(made).treatment.condition
    assert old == RunSpec.recorded(made | {"condition": False}) == RunSpec.recorded(made | {"epc": False, "eta": 0.3})


@pytest.fixture(scope="module")
def records() -> list[RunRecord]:
    return RunStore(shipped_folder()).all()


def test_shipped_runs_and_studies_keep_their_names(records: list[RunRecord]) -> None:
    studies = Store(STUDIES, shipped_folder()).all()
    found = {("run", r.spec.run_id(r.digests)) for r in records}
    found |= {("study", study_id(s.spec, s.digests)) for s in studies}
    golden = {tuple(line.split()) for line in GOLDEN.read_text().splitlines()}
    assert len(golden) >= 762 and golden - found == set()
    assert {r.run_id for r in records} == {name for kind, name in found if kind == "run"}


@given(st.data())
def test_shipped_specs_are_read_as_they_are_written_now(records: list[RunRecord], data: st.DataObject) -> None:
    spec = data.draw(st.sampled_from(records)).spec
    assert RunSpec.recorded(spec.to_dict()) == spec
