"""Who listens while a sweep runs. No torch here."""

from collections.abc import Callable
from dataclasses import dataclass

from tdq_core.records.record import RunRecord
from tdq_core.specs import RunSpec


@dataclass(frozen=True)
class Watch:
    """Who listens while a sweep runs.

    Attributes:
        on_start: how many runs are to be measured, in how many tasks, and where: one sentence.
        on_record: a record that came, the seconds that it took, and a sentence where it could not be kept ('').
        on_complaint: a run that could not be measured, and why.
        on_step: worker, run, stage, done, total.
        on_tick: several times a second.
    """

    on_start: Callable[[int, int, str], None] = lambda runs, tasks, where: None
    on_record: Callable[[RunRecord, float, str], None] = lambda record, seconds, not_kept: None
    on_complaint: Callable[[RunSpec, str], None] = lambda spec, sentence: None
    on_step: Callable[[str, RunSpec, str, int, int], None] = lambda worker, spec, stage, done, total: None
    on_tick: Callable[[], None] = lambda: None


UNWATCHED = Watch()
"""Nobody listens."""
