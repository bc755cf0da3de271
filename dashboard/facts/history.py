"""What was planned before, to go back to and forth again: plain values."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from dashboard.facts.draft import Draft, Ranking
from dashboard.facts.planning import Hand, HandBits
from tdq_core.specs import ModelSpec, RunSpec

MOST = 200
"""Steps that are kept."""


class Step(NamedTuple):
    """A plan as it was chosen: what of a draft the controls say, and the ranks and bits by hand."""

    options: Mapping[str, Any]
    ranking: Ranking
    hands: Mapping[str, Hand]
    bits: Mapping[ModelSpec, HandBits]

    @classmethod
    def of(cls, draft: Draft) -> "Step":
        return cls(dict(draft.options), draft.ranking, dict(draft.hands), dict(draft.bits))


class Kept(NamedTuple):
    """A step, and what the controls held: what is put back into them."""

    step: Step
    controls: Mapping[str, Any]


@dataclass(frozen=True)
class History:
    """The plans of one subject, in their order.

    Attributes:
        past: up to the one on the page; future: what was undone.
    """

    subject: RunSpec
    past: tuple[Kept, ...] = ()
    future: tuple[Kept, ...] = ()

    @property
    def can_undo(self) -> bool:
        return len(self.past) > 1

    @property
    def can_redo(self) -> bool:
        return bool(self.future)


def seen(history: History | None, draft: Draft, controls: Mapping[str, Any]) -> History:
    """The history after `draft` was on the page: as before where nothing has changed; else one step longer, and what
    had been undone is gone. Another subject begins anew."""
    if history is None or history.subject != draft.subject:
        history = History(draft.subject)
    step = Step.of(draft)
    if history.past and history.past[-1].step == step:
        return history
    return History(draft.subject, (*history.past, Kept(step, dict(controls)))[-MOST:])


def undone(history: History) -> History:
    """One step back; as it is where there is none."""
    if not history.can_undo:
        return history
    return History(history.subject, history.past[:-1], (history.past[-1], *history.future))


def redone(history: History) -> History:
    """One step forth again; as it is where nothing was undone."""
    if not history.can_redo:
        return history
    return History(history.subject, (*history.past, history.future[0]), history.future[1:])
