"""A folder of runs that is ill-treated, and what came of it: what `benchmarks.faults` counts."""

import random
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from tdq_core.records.index import NAME as INDEX
from tdq_core.records.record import RunRecord
from tdq_core.records.store import Found, RunStore, shipped_folder
from tdq_core.specs import RunSpec
from tdq_core.system import leftovers

COUNTED = ("runs lost", "pages broken", "hangs", "leftovers", "work repeated", "not told")
LONGEST_S = 30.0
MODEL = "digits_resnet"
T = TypeVar("T")


class Campaign:
    """A folder of runs that is ill-treated, and what came of it."""

    def __init__(self, folder: Path, seeded: int) -> None:
        self.folder, self.draw, self.counts = folder, random.Random(seeded), Counter[str]()
        self.injected: Counter[str] = Counter()
        shipped = RunStore(shipped_folder()).found().values
        self.made = [r for r in shipped if r.spec.model.name == MODEL and r.metrics]
        self.finished: dict[str, RunRecord] = {}

    def record(self, seed: int) -> RunRecord:
        """A run as one that was measured now would be."""
        plain = self.draw.choice(self.made).to_dict()
        plain["spec"]["seed"] = seed
        plain["run_id"] = RunSpec.recorded(plain["spec"]).run_id(plain["digests"])
        return RunRecord.from_dict(plain)

    def keep(self, record: RunRecord) -> None:
        RunStore(self.folder).put(record)
        self.finished[record.run_id] = record

    def looked_through(self, *, damaged: int = 0) -> None:
        """Every finished run is there as it was, each damaged file is told, and nothing half made is left."""
        found: Found[RunRecord] | None = self.in_time(lambda: RunStore(self.folder).found())
        if found is None:
            return
        held = {r.run_id: r for r in found.values}
        self.counts["runs lost"] += sum(held.get(name) != record for name, record in self.finished.items())
        self.counts["not told"] += abs(len(found.left_out) - damaged)
        self.counts["leftovers"] += len(list(self.left()))

    def left(self) -> Iterator[Path]:
        leftovers._swept.clear()
        leftovers.sweep(self.folder)
        for path in self.folder.iterdir():
            if path.name.startswith(".") and INDEX not in path.name:
                yield path

    def in_time(self, work: Callable[[], T]) -> T | None:
        """What `work` gives; what takes too long twice is a hang (a machine may halt a process): counted, and ended."""
        signal.signal(signal.SIGALRM, _too_long)
        for _ in range(2):
            signal.setitimer(signal.ITIMER_REAL, LONGEST_S)
            try:
                return work()
            except TimeoutError:
                continue
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        self.counts["hangs"] += 1
        return None


def _too_long(*_: object) -> None:
    raise TimeoutError
