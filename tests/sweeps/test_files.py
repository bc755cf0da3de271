"""A sweep file: what it means, and the one sentence where it means nothing."""

import json
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from strategies import specs

from benchmarks.sweep_files import KINDS, document, outcome
from cached_runs.digits import MODEL as DIGITS
from cached_runs.study import NETWORKS
from tdq_core.errors import InputError
from tdq_core.records.record import RunRecord
from tdq_core.records.store import RunStore, shipped_folder
from tdq_core.specs import RunSpec
from tdq_core.specs.option import fields_of
from tdq_core.specs.rank_choice import RankChoice
from tdq_core.specs.run import defaults
from tdq_core.sweeps.grid import MOST, grid_of
from tdq_core.sweeps.spec import LARGEST_FILE, parse_sweep, read_sweep

HEAD = 'model = "digits_resnet"\ndata = "digits"\n'


def runs(text: str) -> tuple[RunSpec, ...]:
    return grid_of(parse_sweep(HEAD + text)).specs


def refusal(text: str) -> str:
    with pytest.raises(InputError) as caught:
        grid_of(parse_sweep(text, "The sweep file 's.toml'"))
    return str(caught.value)


def as_table(spec: RunSpec) -> dict[str, object]:
    """The options of a run, those at their defaults left out, as a sweep file names them."""
    flat = {k: v for k, v in spec.to_flat().items() if k != "rule" and v is not None and v != defaults()[k]}
    choice = RankChoice.of(spec.rule)
    table = {f.name: v for f in fields_of(RankChoice) if (v := getattr(choice, f.name)) != f.default}
    if "ranks" in table:
        table["ranks"] = json.loads(str(table["ranks"]))
    if any(rank is None for rank in dict(table.get("ranks", {})).values()):
        table["ranks"] = json.dumps(table["ranks"])  # TOML has no null
    return flat | table | (choice.sharing if spec.rule else {})


@settings(max_examples=150)
@given(specs())
def test_a_table_without_lists_is_the_run_that_has_these_options(spec):
    places = {name: f"folder:{where}" for name in ("data", "calib") if (where := getattr(spec.images, name))}
    spec = spec.with_parts(images=structs.replace(spec.images, **places))
    (found,) = grid_of(parse_sweep(document(as_table(spec)))).specs
    assert found == spec


@settings(max_examples=200)
@given(st.sampled_from([*KINDS]), st.integers(0, 2**32))
def test_any_file_is_a_grid_or_a_sentence(kind, seed):
    outcome(KINDS[kind](random.Random(seed)))


def test_lists_are_axes_and_tables_add_to_what_stands_around_them():
    found = runs("""
        precision = ["fp32", "w8"]
        [[grid]]
        method = "cp"
        ratio = [2, 3]
        grid = [{ epc = true, eta = 0.1 }, { calibrated = [false, true], policy = "global" }]
        [[grid]]
        method = "svd"
        ranks = { fc = 4, "layer1.0" = 3 }
    """)
    assert len(found) == len(set(found)) == 2 * (2 * (1 + 2) + 1)
    assert {(s.decomposition.epc, s.decomposition.eta) for s in found} == {(True, 0.1), (False, 0.0)}
    assert {s.rule.policy for s in found if s.decomposition.epc or s.method == "svd"} == {"uniform"}
    assert found[-1].rule.ranks == {"fc": 4, "layer1.0": 3} and found[-1].precision.name == "w8"


def test_a_list_of_numbers_is_one_value_where_the_option_is_a_list():
    once = runs("mean = [0.5]\nstd = [0.25]\ninput_size = [32, 48]")
    assert (once[0].model.mean, once[0].model.std, once[0].model.input_size) == ((0.5,), (0.25,), (32, 48))
    sizes = [s.model.input_size for s in runs('input_size = ["32", [32, 48], "64x16"]')]
    assert sizes == [(32, 32), (32, 48), (64, 16)]


def test_what_makes_no_sense_together_is_left_out_and_counted():
    grid = grid_of(parse_sweep(HEAD + 'method = ["none", "svd", "cp"]\nratio = [2, 3]\nepc = [false, true]'))
    assert len(grid.specs) == 1 + 2 + 4 and grid.repeated == 1  # a dense model takes no ratio: it is asked for twice
    ((reason, count),) = grid.left_out.items()
    assert count == 4 and reason.startswith("The correction 'epc'") and "Got" not in reason


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "names no 'model'"),
        (HEAD + "metod = 1", "'metod'.*did you mean 'method'"),
        (HEAD + "calib-samples = 9", "did you mean 'calib_samples'"),
        (HEAD + "zzz = 1", "known are .*precision"),
        (HEAD + 'method = "tucker"', r"key 'method': .*must be one of none, tucker2.*Got 'tucker'"),
        (HEAD + 'method = "cp"\nratio = [2, 0.5]', r"key 'ratio': .*above 1.*Got 0\.5"),
        (HEAD + "seed = -1", r"key 'seed': .*\[0, .*Got -1"),
        (HEAD + "seed = true", "key 'seed': .*an int.*Got True"),
        (HEAD + "latency = 1", "key 'latency': .*true or false"),
        (HEAD + "seed = []", "key 'seed', is an empty list"),
        (HEAD + "seed = 2020-01-01", "key 'seed': It takes no date or time"),
        (HEAD + "seed = {a = 1}", "key 'seed': It takes no table"),
        (HEAD + "opset = 99", r"key 'opset': .*\[13, 20\]"),
        (HEAD + 'ranks = {"a" = 0}', "key 'ranks': .*layer 'a'.*at least 1"),
        (HEAD + 'ranks = "nowhere.json"', "key 'ranks': .*cannot be read"),
        (HEAD + "vbmf_weakening = 2", r"key 'vbmf_weakening': .*\(0, 1\]"),
        (HEAD + "std = [0.0]", r"key 'std': .*\(0, 1\]"),
        (HEAD + "mean = 'a,b'", "key 'mean': .*numbers with commas"),
        (HEAD + "input_size = '0'", "key 'input_size': .*pixels"),
        (HEAD + 'preset = "mine"', "key 'preset': .*study"),
        (HEAD + "grid = 3", "'grid' must be tables"),
        (HEAD + "grid = [3]", "'grid' holds tables"),
        (HEAD + "grid = []", "'grid' must be tables"),
        (HEAD + 'seed = 1\n[[grid]]\n[[grid]]\nseed = 2', r"\[\[grid\]\] 2 says 'seed' again"),
        (HEAD + 'method = "svd"\nratio = 2\nepc = true', "leaves no run of 1: The correction 'epc'"),
        (HEAD + 'method = "svd"', "leaves no run of 1: .*needs one way to choose ranks"),
        (HEAD + "ratio = 2", "leaves no run of 1: .*takes no ranks"),
        ('model = "m"\ndata = "photos"', "key 'data': Images come from"),
        ("a = ", "is not TOML"),
        ("a = " + "[" * 5000, "is not TOML: it is nested too deeply"),
        ("x = 1" + "0" * 5000, "is not TOML"),
        (HEAD + f"seed = {list(range(200))}\ncalib_samples = {list(range(1, 201))}", f"40,000 combinations: {MOST:,}"),
        (HEAD + "grid = [{" + "grid = [{" * 9 + "}]" * 9 + "}]", "9 deep: 8 at most"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(text, told):
    sentence = refusal(text)
    assert sentence.startswith("The sweep file 's.toml'") and "\n" not in sentence
    assert re.search(told, sentence), sentence


def test_files_that_are_none_are_told_before_any_work(tmp_path, tdq):
    (tmp_path / "folder").mkdir()
    (tmp_path / "large.toml").write_bytes(b"#" * (LARGEST_FILE + 1))
    (tmp_path / "bytes.toml").write_bytes(b"a = '\xff'")
    for name in ("missing.toml", "folder", "large.toml", "bytes.toml", "/dev/zero"):
        done = tdq("sweep", name)
        assert done.returncode == 2 and not done.stdout
        assert done.stderr.startswith(f"tdq: The sweep file '{name}'") and done.stderr.count("\n") == 1


@pytest.fixture(scope="module")
def shipped() -> dict[RunSpec, RunRecord]:
    return {r.spec: r for r in RunStore(shipped_folder()).all()}


@pytest.mark.parametrize("model", [DIGITS, *NETWORKS])
def test_the_grid_of_a_shipped_model_asks_for_the_runs_that_are_shipped(model, shipped):
    """By name: what a grid asks for, with the contents that were measured, is called as it was called then."""
    grid = grid_of(read_sweep(shipped_folder() / f"{model}.toml"))
    assert not grid.left_out and not grid.repeated and {s.model.name for s in grid.specs} == {model}
    assert grid.specs[0].dense().run_id({}) == grid.specs[0].run_id({})
    found = [r for s in grid.specs if (r := shipped.get(s))]
    assert [r.run_id for r in found if r.spec.run_id(r.digests) != r.run_id] == []
    assert len(found) == sum(s.model.name == model for s in shipped) or model == DIGITS  # where a recipe tried others


def test_planning_loads_no_torch(tmp_path):
    (tmp_path / "s.toml").write_text(HEAD + 'method = "cp"\nratio = [2, 3]')
    code = "import atexit, sys; sys.argv = ['tdq', 'sweep', 's.toml', '--dry-run']; from tdq_core.cli import main\n"
    code += "atexit.register(lambda: print('torch' in sys.modules)); main()"
    path = str(Path(__file__).parents[2])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True,
                          env={"PYTHONPATH": path, "PATH": ""})  # fmt: skip
    assert done.stdout.splitlines()[-1] == "False"
