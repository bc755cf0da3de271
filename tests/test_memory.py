"""Free memory as the kernel and the control groups tell it; and that too little of it is never an answer."""

import ast
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tdq_core.compression.decompose import cp
from tdq_core.errors import NotNow
from tdq_core.pipeline.run import run
from tdq_core.records.store import RunStore
from tdq_core.specs import RankRule, RunSpec
from tdq_core.system import machine

MB = 1_024_000
AVAILABLE = 8000 * MB
MEMINFO = "MemTotal:       16000000 kB\nMemFree:          100000 kB\nMemAvailable:    8000000 kB\nHugePages_Total: 0\n"


def made_up(root: Path, groups: str, **files: dict[str, object]) -> Path:
    """A machine with these control groups: by the group's folder, / written as __, its files without `memory.`."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text(MEMINFO)
    (root / "proc/self/cgroup").write_text(groups)
    for group, contents in files.items():
        folder = root / "sys/fs/cgroup" / group.replace("__", "/").replace("top", ".")
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in contents.items():
            (folder / f"memory.{name}").write_text(f"{text}\n")
    return root


def test_memory_that_caches_hold_is_free(tmp_path):
    assert machine.free_memory(made_up(tmp_path, "")) == AVAILABLE


STAT = f"anon 5\ninactive_file {1000 * MB}\nactive_file 7"
TOTAL_STAT = f"inactive_file 1\ntotal_inactive_file {500 * MB}"
V1 = "9:name=systemd:/\n4:cpu,memory:/docker/abc\n1:cpuset:/docker/abc\n"
LIMITED = {"max": 3000 * MB, "current": 1000 * MB}
GROUPS = {
    "version 2": ("0::/user/app\n", {"user__app": {"max": 3000 * MB, "current": 2000 * MB, "stat": STAT}}, 2000 * MB),
    "a limit further up": ("0::/user/app\n", {"user__app": {"max": "max", "current": MB}, "user": LIMITED}, 2000 * MB),
    "the least of two": ("0::/a/b\n", {"a__b": {"max": 5000 * MB, "current": 0}, "a": LIMITED}, 2000 * MB),
    "seen from inside a container": ("0::/\n", {"top": LIMITED}, 2000 * MB),
    "named from outside a container": ("0::/kubepods/pod1\n", {"top": LIMITED}, 2000 * MB),
    "version 1": (V1, {"memory__docker__abc": {"limit_in_bytes": 4000 * MB, "usage_in_bytes": 3000 * MB,
                                               "stat": TOTAL_STAT}}, 1500 * MB),
    "version 1 without a limit": (V1, {"memory__docker__abc": {"limit_in_bytes": 9223372036854771712,
                                                               "usage_in_bytes": MB}}, AVAILABLE),
    "no limit": ("0::/a\n", {"a": {"max": "max", "current": MB}}, AVAILABLE),
    "more used than allowed": ("0::/a\n", {"a": {"max": MB, "current": 2 * MB}}, 0),
    "another controller's group": ("3:cpu:/a\n", {"a": {"max": MB, "current": 0}}, AVAILABLE),
}  # fmt: skip


@pytest.mark.parametrize("which", GROUPS)
def test_no_more_is_free_than_the_control_groups_leave(tmp_path, which):
    groups, files, free = GROUPS[which]
    assert machine.free_memory(made_up(tmp_path, groups, **files)) == free


def test_without_proc_the_whole_memory_is_assumed(tmp_path):
    assert 0 < machine.free_memory() <= machine.free_memory(tmp_path)


def test_what_depends_on_the_machine_is_no_refusal():
    """A refusal is recorded for good; whoever asks how much memory is free raises NotNow."""
    engine, asking = Path(machine.__file__).parent.parent, 0
    for path in engine.rglob("*.py"):
        tree = ast.parse(path.read_text())
        names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
        if "free_memory" in names:
            asking += 1
            fewer_workers = path.name in ("side_by_side.py", "sweep.py", "cluster.py")  # as many as there is room for
            assert "Refused" not in names and ("NotNow" in names or fewer_workers), path.name
    assert asking >= 2


def test_too_little_memory_is_no_answer_and_is_not_recorded(tmp_path, monkeypatch):
    store = RunStore(tmp_path)
    spec = RunSpec.of("digits_resnet", "digits", method="cp", rule=RankRule("ratio", 4), samples=50)
    monkeypatch.setattr(cp, "free_memory", lambda: 1000)
    with pytest.raises(NotNow, match="GB are free"):
        run(spec, store=store)
    assert {r.spec.method for r in store.all()} == {"none"}, "only the baseline was measured"
    monkeypatch.undo()
    first = run(spec, store=store)
    assert first.record.state == "complete" and not first.reused
    reason = "CP of a kernel of 64 x 64 x 9 at rank 9 needs 3.0 GB and 0.1 GB are free: choose a lower rank."
    older = msgspec.structs.replace(first.record, state="refused", reason=reason, metrics=None, baseline=None)
    store.put(older)
    again = run(spec, store=store)
    assert again.record.state == "complete" and not again.reused, "an older TDQ recorded it"


def test_the_most_that_a_process_held_is_its_own() -> None:
    """Not that of the process that started it."""
    asked = [sys.executable, "-c", "from tdq_core.system import machine; print(machine.peak_memory())"]
    code = f"import subprocess; held = b'1' * 600_000_000; subprocess.run({asked!r}, check=True)"
    own = int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert 5_000_000 < own < 300_000_000


def test_where_the_system_does_not_tell_it_the_most_is_what_it_reports(tmp_path: Path) -> None:
    assert machine.peak_memory(tmp_path) >= 0.9 * machine.peak_memory()
