"""In what an interaction is counted: points of top-1, or per cent of the sum of squared changes. Plain values."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from dashboard.facts.additions import ADDS, LESS, MARGIN, MORE, OPEN, Addition, kinds_of, move_said
from dashboard.words import text
from tdq_core.analysis.additivity import SHARE, Interval
from tdq_core.analysis.joint_moves import JointMove, NoMove
from tdq_core.stats.equivalence import Equivalence


class Scale(NamedTuple):
    """One way to count.

    Attributes:
        title: of an axis, with the unit, which is a hundredth; margin: in ones.
        interval: of an addition, None where it is not told on this scale; apart: whether it is shown not to add up.
    """

    label: str
    title: str
    margin: float
    interval: Callable[[Addition], Interval | None]
    apart: Callable[[Addition], bool]

    def told(self, additions: Sequence[Addition]) -> list[Addition]:
        """Those that are told on this scale."""
        return [one for one in additions if self.interval(one)]

    def value(self, one: Addition) -> Interval:
        """Of one that is told on it."""
        found = self.interval(one)
        assert found is not None, "asked of what is told alone"
        return found


def _share(one: Addition) -> Interval | None:
    return one.moved.share if isinstance(one.moved, JointMove) else None


def _moves_apart(one: Addition) -> bool:
    return isinstance(one.moved, JointMove) and one.moved.verdict == Equivalence.BEYOND


SCALES = {
    "points": Scale("top-1", "Interaction: joint drop − sum (points)", MARGIN, lambda one: one.interaction,
                    lambda one: one.departs),
    "change": Scale("squared change of the answers", "Joint squared change − sum (% of the sum)", SHARE, _share,
                    _moves_apart),
}  # fmt: skip
"""By name in the address."""


def moves_text(additions: Sequence[Addition]) -> str:
    """The answer in squared change, counted over the groups with integers that keep it; and why others do not."""
    counted = [a for a in additions if a.look.numbers.integer] or list(additions)
    kept = SCALES["change"].told(counted)
    said = Counter(move_said(one.moved) for one in kept)
    missing = Counter(a.moved.reason for a in counted if isinstance(a.moved, NoMove))
    lacking = " ".join(
        f"{number} of {len(counted)} groups tell nothing of it: {why}." for why, number in missing.items()
    )
    if not kept:
        return f"In **squared change of the answers**: {lacking}"
    told = (
        f"In **squared change of the answers**, which has far less noise, **{said[ADDS]} of {len(kept)} "
        f"group{'s' * (len(kept) != 1)} add{'s' * (len(kept) == 1)} up within {100 * SHARE:g} % of the sum**"
    )
    if more := said[MORE]:
        told += f", {more} move{'s' * (more == 1)} the answers further than the sum"
    if said[LESS]:
        told += f", {said[LESS]} less far"
    if said[OPEN]:
        told += f", {said[OPEN]} cannot be told on so few images"
    far = max(kept, key=lambda one: abs(SCALES["change"].value(one)[0]))
    share = SCALES["change"].value(far)
    reach = f"{text.points(share[0])} % {text.interval(*share[1:])}"
    return f"{told}; furthest is {far.treatment} ({reach}). {lacking}".strip()


def sums_text(additions: Sequence[Addition]) -> str:
    """For which methods and precisions a prediction may add changes up, as far as these groups say; '' where none
    does."""
    kept = SCALES["change"].told(additions)
    kinds = [(kind.name, {move_said(one.moved) for one in kind.additions}) for kind in kinds_of(kept)]
    good = [name for name, said in kinds if said == {ADDS}]
    bad = [name for name, said in kinds if {MORE, LESS} & said]
    told = [f"holds for {'; '.join(good)}"] * bool(good) + [f"does not for {'; '.join(bad)}"] * bool(bad)
    return f"A prediction adds squared changes up: that {', and '.join(told)}." if told else ""
