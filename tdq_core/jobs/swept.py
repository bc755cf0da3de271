"""A sweep as a job: how far it is, and in a sentence what it has come to. No torch here."""

from collections.abc import Sequence

from tdq_core.jobs.folder import Result
from tdq_core.records.record import RunRecord
from tdq_core.sweeps.watch import Watch
from tdq_core.system.progress import Progress

MEASURED = "runs"
"""The stage whose steps are measured runs."""


class Count:
    """Runs that came, of those that are to be measured."""

    def __init__(self, on_progress: Progress) -> None:
        self._on_progress = on_progress
        self._came = self._all = 0
        self.watch = Watch(
            on_start=self._started,
            on_record=lambda record, seconds, not_kept: self._one_more(),
            on_complaint=lambda spec, sentence: self._one_more(),
        )

    def _started(self, runs: int, tasks: int, where: str) -> None:
        self._all = runs
        self._on_progress(MEASURED, 0, runs)

    def _one_more(self) -> None:
        self._came += 1
        self._on_progress(MEASURED, self._came, self._all)

    def result(self, records: Sequence[RunRecord], complaints: Sequence[str]) -> Result:
        """Done where any run is complete, with what is missing in a sentence."""
        complete = [r for r in records if r.state == "complete"]
        reason = _missing(records, complaints)
        if not complete:
            return Result(state="failed", reason=reason)
        return Result(state="done", run_id=complete[-1].run_id, reused=self._all == 0, reason=reason)


def _missing(records: Sequence[RunRecord], complaints: Sequence[str]) -> str | None:
    others = [f"{r.reason}" for r in records if r.state != "complete"]
    sentences = [*others, *complaints]
    if not sentences:
        return None
    many = f"{len(sentences)} run{'s' * (len(sentences) != 1)}"
    return f"{many} could not be measured or kept; the first: {sentences[0]}"
