"""Who is killed leaves nothing: no lock, no temporary file or folder; and nobody removes what another one uses."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch

from tdq_core.compression.calibrate.kept import keep_tensors, kept_tensors
from tdq_core.system import cache_folders, files, leftovers
from tdq_core.system.files import write_atomically
from tdq_core.system.leftovers import sweep, temporary_folder
from tdq_core.system.locks import alone, is_held
from tdq_core.system.reading import Damaged
from tdq_core.system.sealed import read_sealed, sealed
from tdq_core.system.signals import unwinding

FORK = get_context("fork")


def killed(work: Callable[[], object], with_signal: int = signal.SIGKILL) -> int | None:
    """`work` in a process that is killed while it is at it; its exit code."""
    reader, writer = FORK.Pipe(duplex=False)

    def begin() -> None:
        with unwinding():
            writer.send(work())
            time.sleep(60)

    process = FORK.Process(target=begin)
    process.start()
    reader.recv()
    os.kill(process.pid or 0, with_signal)
    process.join(20)
    return process.exitcode


@pytest.fixture(autouse=True)
def hangups_are_heard() -> Iterator[None]:
    """Under `nohup` they are ignored, and whoever is started there inherits that."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "_EVERY_S", 0.0)


def test_a_writer_that_is_killed_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", lambda fd: os.kill(os.getpid(), signal.SIGKILL))
        process = FORK.Process(target=write_atomically, args=(tmp_path / "a.json", "{}" * 1000))
        process.start()
        process.join(20)
    (half,) = tmp_path.iterdir()
    assert half.name != "a.json"
    write_atomically(tmp_path / "b.json", "{}")
    assert [path.name for path in tmp_path.iterdir()] == ["b.json"]


def test_what_is_in_use_or_not_ours_is_not_swept(tmp_path: Path) -> None:
    mine = f".{os.getpid()}-abcdefgh.tmp"
    for name in (".hidden", ".notes.tmp", "a.tmp", ".1-abcdefgh.tmp.json", mine, ".abcdefgh.tmp"):
        (tmp_path / name).write_text("")
    before = sorted(tmp_path.iterdir())
    with alone(tmp_path / f".{'a' * 16}.lock"):
        sweep(tmp_path)
        assert is_held(tmp_path / f".{'a' * 16}.lock")
    assert sorted(tmp_path.iterdir()) == before
    os.utime(tmp_path / ".abcdefgh.tmp", (0, 0))
    sweep(tmp_path)
    assert sorted(tmp_path.iterdir()) == [path for path in before if path.name != ".abcdefgh.tmp"]


@pytest.mark.parametrize("with_signal", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_a_temporary_folder_goes_with_its_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_signal: int
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    held = []

    def begin() -> bool:
        held.append(temporary_folder())
        (held[0].__enter__() / "half").write_text("made")
        return True

    with temporary_folder() as own:
        code = killed(begin, with_signal)
        assert code == -signal.SIGKILL if with_signal == signal.SIGKILL else code == 128 + with_signal
        with temporary_folder() as another:
            assert sorted(tmp_path.iterdir()) == sorted((own, another))
    assert list(tmp_path.iterdir()) == []


def test_the_command_line_unwinds_when_it_is_asked_to_end(tmp_path: Path) -> None:
    """Between any two of its steps: here in the middle of a command that waits."""
    code = (
        "import sys, time; from tdq_core.cli import main, app\n"
        "from tdq_core.system.leftovers import temporary_folder\n"
        "@app.command('wait')\ndef wait():\n"
        "    with temporary_folder():\n        print('at work', flush=True); time.sleep(60)\n"
        "sys.argv = ['tdq', 'wait']; main()"
    )
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    for asked in (signal.SIGTERM, signal.SIGHUP):
        process = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE)
        assert process.stdout and process.stdout.readline() == b"at work\n"
        process.send_signal(asked)
        assert process.wait(20) == 128 + asked and list(tmp_path.iterdir()) == []
        process.stdout.close()


def test_one_at_a_time_under_a_name_in_threads_too(tmp_path: Path) -> None:
    inside, most, waited, there = [0], [0], [], []

    def work() -> None:
        with alone(tmp_path / "name", on_wait=lambda: waited.append(1)):
            there.append((tmp_path / "name").exists())  # what is held is what a newcomer finds
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            time.sleep(0.01)
            inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    [thread.start() for thread in threads]
    [thread.join(20) for thread in threads]
    assert most[0] == 1 and waited and there == [True] * 8 and not list(tmp_path.iterdir())


def test_a_lock_dies_with_its_holder(tmp_path: Path) -> None:
    def begin() -> bool:
        begin.held = alone(tmp_path / "name")  # type: ignore[attr-defined]
        begin.held.__enter__()  # type: ignore[attr-defined]
        return True

    killed(begin)
    with alone(tmp_path / "name", on_wait=lambda: pytest.fail("nobody is there")):
        pass
    assert not list(tmp_path.iterdir())


def test_two_runs_never_remove_each_others_caches(tmp_path: Path) -> None:
    """The other process uses the oldest folder: it stays, and goes when that process has ended."""
    reader, writer = FORK.Pipe(duplex=False)
    ended, end = FORK.Pipe(duplex=False)

    def other() -> None:
        cache_folders.use(tmp_path / "theirs", 2)
        writer.send(True)
        ended.recv()

    process = FORK.Process(target=other)
    process.start()
    reader.recv()
    for name in "abcd":
        cache_folders.use(tmp_path / name, 2)
        os.utime(tmp_path / "theirs", (1, 1))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c", "d", "theirs"]
    end.send(True)
    process.join(20)
    cache_folders.use(tmp_path / "e", 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d", "e"]


def test_a_cache_is_as_it_was_written_or_is_none(tmp_path: Path) -> None:
    path, tensors = tmp_path / "a.safetensors", {"x": torch.arange(6.0).reshape(2, 3), "n": torch.tensor(5)}
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    keep_tensors(path, tensors)
    found = kept_tensors(path, shapes)
    assert found and all(torch.equal(found[name], tensors[name]) for name in tensors)
    assert kept_tensors(path, shapes | {"x": (3, 2)}) is None and kept_tensors(path, {"x": (2, 3)}) is None
    whole = path.read_bytes()
    for at in range(0, len(whole), 7):
        for damaged in (whole[:at], whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]):
            path.write_bytes(damaged)
            spoilt = kept_tensors(path, shapes)
            assert spoilt is None or all(torch.equal(spoilt[name], tensors[name]) for name in tensors), at
    keep_tensors(path, {"x": torch.tensor([float("nan")])})
    assert kept_tensors(path, {"x": (1,)}) is None and kept_tensors(tmp_path / "none", {}) is None


def test_a_sealed_file_shows_every_wrong_bit(tmp_path: Path) -> None:
    path, whole = tmp_path / "state", sealed(b"content")
    path.write_bytes(whole)
    assert read_sealed(path) == b"content"
    for at in range(len(whole)):
        for damaged in (whole[:at], whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :], whole + b"x"):
            path.write_bytes(damaged)
            with pytest.raises(Damaged):
                read_sealed(path)
