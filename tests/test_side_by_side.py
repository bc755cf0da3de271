"""Work in several processes gives what work in one gives; factors on disk are those that were found."""

import dataclasses
import os
import signal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tdq_core.compression import memory
from tdq_core.compression.decompose.factors import Options
from tdq_core.compression.decompose.filed import from_bytes, to_bytes
from tdq_core.compression.memory import Memory, Wanted
from tdq_core.compression.methods import decompose
from tdq_core.errors import InputError
from tdq_core.system import cores, side_by_side
from tdq_core.system.cache import Cache
from tdq_core.system.threads import all_threads, free_threads, one_thread, threads

KERNEL = torch.randn(8, 6, 3, 3, generator=torch.Generator().manual_seed(0))


def squared(number: int) -> tuple[int, int]:
    return number**2, os.getpid()


def fails_at_two(number: int) -> int:
    if number == 2:
        raise InputError("two")
    return number


def dies_elsewhere(number: int) -> int:
    if os.getpid() != HERE:
        os.kill(os.getpid(), signal.SIGKILL)
    return -number


def threads_there(number: int) -> int:
    return torch.get_num_threads()


HERE = int(os.environ.setdefault("TDQ_TEST_PID", str(os.getpid())))


@pytest.fixture
def two_processes(monkeypatch):
    monkeypatch.setattr(side_by_side, "PATIENCE", 0.0)
    monkeypatch.setattr(side_by_side, "free_cores", lambda: 2)


def test_results_come_in_order_whoever_makes_them(two_processes):
    told: list[int] = []
    made = side_by_side.side_by_side(squared, range(40), costs=[(7 * n) % 40 for n in range(40)], on_done=told.append)
    assert [square for square, _ in made] == [n**2 for n in range(40)]
    assert told == sorted(told) and told[-1] == 40


def test_another_process_helps_with_the_dear_ones(two_processes, monkeypatch):
    monkeypatch.setattr(side_by_side._Pieces, "here", lambda self, until=0.0: None)
    made = side_by_side.side_by_side(squared, [1, 2, 3], costs=[1, 2, 3])
    assert all(where != os.getpid() for _, where in made)


@pytest.mark.parametrize("patience", (0.0, 60.0))
def test_what_goes_wrong_is_told_as_it_is(patience, two_processes, monkeypatch):
    monkeypatch.setattr(side_by_side, "PATIENCE", patience)
    with pytest.raises(InputError, match="two"):
        side_by_side.side_by_side(fails_at_two, range(4), costs=[1] * 4)


def test_a_process_that_is_lost_costs_nothing_that_was_asked(two_processes):
    assert side_by_side.side_by_side(dies_elsewhere, [1, 2, 3, 4], costs=[1, 2, 3, 4]) == [-1, -2, -3, -4]


def test_every_result_is_handed_out_when_it_comes_so_that_a_failure_loses_one(two_processes):
    kept: dict[int, int] = {}
    with pytest.raises(InputError, match="two"):
        side_by_side.side_by_side(fails_at_two, [0, 1, 2, 3, 4], costs=[1, 2, 3, 4, 5], on_result=kept.__setitem__)
    assert {0, 1} <= set(kept) and 2 not in kept and all(kept[which] == which for which in kept)


def test_factors_that_were_found_outlive_a_kill(monkeypatch, tmp_path):
    monkeypatch.setenv("TDQ_CACHE_GB", "1")
    monkeypatch.setattr(memory, "WORTH", 0.0)
    cache = Cache(tmp_path)
    found, made = memory._found, []

    def stopped(job):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(job[0])
        return found(job)

    monkeypatch.setattr(memory, "_found", stopped)
    with pytest.raises(KeyboardInterrupt):
        Memory(cache).find([Wanted(KERNEL, "svd", (rank,), Options()) for rank in (1, 2, 3)])
    monkeypatch.setattr(memory, "_found", lambda job: pytest.fail("it was found before"))
    assert len(Memory(cache).find(made)) == 2


def test_each_piece_has_one_thread(two_processes):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert set(side_by_side.side_by_side(threads_there, range(6), costs=[1] * 6)) == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_threads_are_given_back_and_never_more_than_allowed(monkeypatch):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with threads(7):
            assert torch.get_num_threads() == 2
        monkeypatch.setattr("tdq_core.system.threads.free_cores", lambda: 1)
        with free_threads(), one_thread():
            assert (torch.get_num_threads(), all_threads()) == (1, 2)
            with threads(all_threads()):
                assert torch.get_num_threads() == 2
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("busy, free", [([0, 0, 0, 0], 4), ([100, 0, 40, 0], 3), ([100, 100, 100, 100], 1)])
def test_free_cores_are_those_that_idle(busy, free, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(cores, "_mine", lambda: [0, 1, 2, 3])
    monkeypatch.setattr(cores, "_last", None)
    monkeypatch.setattr(cores.psutil, "cpu_percent", lambda interval, percpu: busy)
    assert cores.free_cores() == free
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert cores.free_cores() == min(free, 2)


WANTED = [
    Wanted(KERNEL, "tucker2", (3, 2), Options()),
    Wanted(KERNEL, "svd", (3,), Options()),
    Wanted(KERNEL, "cp", (4,), Options(seed=1, eta=0.1)),
    Wanted(KERNEL, "tucker2", (2, 1), Options(), groups=2),
]


def same(one, other) -> bool:
    if hasattr(one, "parts"):
        return all(map(same, one.parts, other.parts))
    values = [[getattr(f, field.name) for field in dataclasses.fields(f)] for f in (one, other)]
    return type(one) is type(other) and all(
        torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in zip(*values, strict=True)
    )


@pytest.mark.parametrize("wanted", WANTED, ids=lambda each: f"{each.method}{each.groups}")
def test_factors_come_back_from_a_file_as_they_were(wanted):
    factors = decompose(wanted.weight, wanted.method, wanted.ranks, wanted.options, groups=wanted.groups)
    content = to_bytes(factors)
    assert same(factors, from_bytes(content))
    assert from_bytes(content[: len(content) // 2]) is None


@settings(max_examples=60)
@given(st.binary(max_size=200))
def test_bytes_that_are_no_factors_are_none(content):
    assert from_bytes(content) is None


def test_factors_are_found_once_on_a_disk(tmp_path, monkeypatch):
    monkeypatch.setenv("TDQ_CACHE_GB", "1")
    monkeypatch.setattr(memory, "WORTH", 0.0)
    cold = Memory(Cache(tmp_path)).find(WANTED)
    assert len(list(tmp_path.iterdir())) == len(WANTED)
    monkeypatch.setattr(memory, "decompose", None)
    assert all(map(same, cold, Memory(Cache(tmp_path)).find(WANTED)))


@pytest.mark.parametrize("damage", [lambda b: b[:-9], lambda b: b[:-9] + bytes([b[-9] ^ 1]) + b[-8:], lambda b: b""])
def test_a_damaged_file_is_found_again_and_replaced(damage, tmp_path, monkeypatch):
    monkeypatch.setenv("TDQ_CACHE_GB", "1")
    monkeypatch.setattr(memory, "WORTH", 0.0)
    (cold,) = Memory(Cache(tmp_path)).find(WANTED[:1])
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    (again,) = Memory(Cache(tmp_path)).find(WANTED[:1])
    assert same(cold, again) and file.read_bytes() == whole


@pytest.mark.parametrize(
    "change", [{"ranks": (3, 1)}, {"options": Options(seed=1)}, {"method": "svd"}, {"weight": KERNEL + 1e-6}]
)
def test_other_factors_have_other_names(change):
    assert dataclasses.replace(WANTED[0], **change).name != WANTED[0].name


def test_the_latest_used_files_stay(tmp_path, monkeypatch):
    monkeypatch.setenv("TDQ_CACHE_GB", "4.5e-7")  # three files of 100 bytes and their seals
    cache = Cache(tmp_path)
    for n, name in enumerate("abc"):
        cache.put(name, bytes(100))
        os.utime(tmp_path / name, ns=(n, n))
    assert cache.get("a") == bytes(100)
    cache.put("d", bytes(100))
    assert sorted(path.name for path, _ in cache.files()) == ["a", "c", "d"]


@pytest.mark.parametrize("text", ("-1", "much", "nan"))
def test_a_size_that_is_none_is_one_sentence(text, tmp_path, monkeypatch):
    monkeypatch.setenv("TDQ_CACHE_GB", text)
    with pytest.raises(InputError, match="TDQ_CACHE_GB must be"):
        Cache(tmp_path).get("a")
