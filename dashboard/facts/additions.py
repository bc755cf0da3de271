"""Whether separate drops add up to the joint one, group by group of four cells, in values and words. Plain values."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from dashboard.words import text
from dashboard.words.palette import Look, look_of
from tdq_core.analysis.additivity import Cells, Interval, Judged, judged
from tdq_core.analysis.joint_moves import JointMove, NoMove
from tdq_core.records.record import RunRecord
from tdq_core.stats.equivalence import ERROR, Equivalence

MARGIN = 0.01
"""An interaction within this much of zero, as a share of the images, makes no difference to whoever plans a network."""
MOST_NAMED = 6
NOT_KEPT = "not kept"
MOVES_SAID = (ADDS, MORE, LESS, OPEN) = ("adds up", "more than the sum", "less than the sum", "too few images")
"""Of squared changes, for people."""
MOVE_COLUMNS = ("squared change", "change: sum (%)", "change: joint (%)", "of the sum (%)", "of it, low", "of it, high")


class Addition(NamedTuple):
    """Four cells: drops and interaction as (estimate, low, high), shares of the images (0-1).

    Attributes:
        kind: method and precision in words, and what is unusual about its integers: what it is counted among.
        ratio: params of the dense network / of the run with both treatments; line: what runs that differ in nothing but
            the ratio that was asked for have in common.
        interaction: with an interval that allows for all groups that were looked at; verdict, p: as `Judged` has them.
        moved: the same in squared change of the logits, or why it is not told.
    """

    run_id: str
    treatment: str
    kind: str
    look: Look
    decomposed: Interval
    quantized: Interval
    summed: Interval
    joint: Interval
    interaction: Interval
    verdict: Equivalence
    p: float
    moved: JointMove | NoMove
    ratio: float
    line: str

    @property
    def departs(self) -> bool:
        """Whether it is not zero, and not shown to be within the margin either."""
        return self.verdict == Equivalence.BEYOND or (self.verdict == Equivalence.UNDECIDED and self.p < ERROR)

    @property
    def said(self) -> str:
        """For people."""
        if self.departs:
            return "departs" if self.verdict == Equivalence.BEYOND else "departs, by how much is open"
        return "adds up" if self.verdict == Equivalence.WITHIN else "too few images"


class Kind(NamedTuple):
    """The groups of one method in one precision, in the order of the sum of their separate drops."""

    name: str
    additions: tuple[Addition, ...]

    def count(self, said: str) -> int:
        """How many of its groups are said to be so; 'departs' counts all that do."""
        return sum(a.said.startswith(said) for a in self.additions)

    def count_moves(self, said: str) -> int:
        """The same in squared change."""
        return sum(move_said(a.moved) == said for a in self.additions)

    @property
    def worst(self) -> Addition:
        """The largest interaction, whatever its sign."""
        return max(self.additions, key=lambda a: abs(a.interaction[0]))


def additions_of(cells: Sequence[Cells]) -> tuple[Addition, ...]:
    """One for each group of four cells, all of them looked at together."""
    return tuple(_addition(row) for row in judged(cells, MARGIN))


def _move_row(one: Addition) -> dict[str, Any]:
    """In squared change of the logits: per cent of their mean square, and of the sum; nothing where it is not told."""
    moved = one.moved
    if isinstance(moved, NoMove):
        return dict.fromkeys(MOVE_COLUMNS)
    values = (100 * moved.summed, 100 * moved.both, *(100 * end for end in moved.share))
    return dict(zip(MOVE_COLUMNS, (move_said(moved), *values), strict=True))


def move_said(moved: JointMove | NoMove) -> str:
    """The verdict in squared change, for people."""
    if isinstance(moved, NoMove):
        return NOT_KEPT
    if moved.verdict == Equivalence.BEYOND:
        return MORE if moved.share[0] > 0 else LESS
    return ADDS if moved.verdict == Equivalence.WITHIN else OPEN


def _addition(row: Judged) -> Addition:
    cells, spec = row.cells, row.cells.both.spec
    look = look_of(spec)
    unusual = [said for said in text.quantizer(spec) if said not in ("", "conditioned")]
    kind = ", ".join((look.variant.label, look.numbers.label, *unusual))
    return Addition(
        cells.both.run_id, text.treatment(spec), kind, look, *row.drops, row.interaction, row.verdict, row.p,
        row.moved, cells.both.metrics.compression_ratio if cells.both.metrics else 1.0, _line(cells.both),
    )  # fmt: skip


def _line(record: RunRecord) -> str:
    spec, rule = record.spec, record.spec.rule
    sharing = (rule.policy, rule.budget, rule.multiple, rule.keep_ends) if rule and rule.kind == "ratio" else rule
    return repr(sorted((spec.to_dict() | {"rule": sharing}).items()))


def kinds_of(additions: Iterable[Addition]) -> list[Kind]:
    """By method and precision, those with integers first, then by method."""
    found: dict[str, list[Addition]] = {}
    for one in additions:
        found.setdefault(one.kind, []).append(one)
    kinds = [Kind(name, tuple(sorted(own, key=lambda a: a.summed[0]))) for name, own in found.items()]
    return sorted(kinds, key=lambda k: (not k.additions[0].look.numbers.integer, k.additions[0].look.place, k.name))


def joined_runs(cells: Iterable[Cells]) -> list[RunRecord]:
    """Every run that is a cell of one of the groups, each once."""
    runs = [r for c in cells for r in (c.dense, c.decomposed, c.quantized, c.both)]
    return list({r.run_id: r for r in runs}.values())


def verdict_text(additions: Sequence[Addition]) -> str:
    """The answer, counted over the groups with integers: floating point of 16 bits loses next to nothing, and adds up
    for that reason alone."""
    counted = [a for a in additions if a.look.numbers.integer] or list(additions)
    what = "with integers" if any(a.look.numbers.integer for a in additions) else "in FP16"
    total, add_up = len(counted), sum(a.verdict == Equivalence.WITHIN for a in counted)
    apart = [a for a in counted if a.departs]
    undecided = total - add_up - len(apart)
    told = (
        f"Of {total} group{'s' * (total != 1)} {what}, **{add_up} add{'s' * (add_up == 1)} up within "
        f"{100 * MARGIN:g} point**"
    )
    if undecided:
        told += f", {undecided} cannot be told on so few images"
    if not apart:
        return f"{told}, and none is shown to depart."
    return f"{told}, and **{len(apart)} depart{'s' * (len(apart) == 1)}**: {_named(apart)}."


def _named(apart: Sequence[Addition]) -> str:
    """The exceptions, kind by kind: how many, which way, and the worst."""
    told = []
    kinds = sorted(kinds_of(apart), key=lambda k: -abs(k.worst.interaction[0]))
    for kind in kinds[:MOST_NAMED]:
        value = kind.worst.interaction
        more = f"{len(kind.additions)} of " if len(kind.additions) > 1 else ""
        way = "at most" if len(kind.additions) > 1 else "by"
        told.append(f"{more}{kind.name} ({way} {text.points(value[0])} {text.interval(*value[1:])})")
    rest = sum(len(k.additions) for k in kinds[MOST_NAMED:])
    return "; ".join(told) + (f"; {rest} more in the table" if rest else "")


def kind_rows(additions: Sequence[Addition]) -> list[dict[str, Any]]:
    """A row for each method and precision; squared changes where any is kept."""
    told = any(isinstance(a.moved, JointMove) for a in additions)
    return [
        {
            "method and precision": kind.name,
            "groups": len(kind.additions),
            "add up": kind.count("adds up"),
            "depart": kind.count("departs"),
            "too few images": kind.count("too few images"),
            "mean interaction": 100 * sum(a.interaction[0] for a in kind.additions) / len(kind.additions),
            "largest": 100 * kind.worst.interaction[0],
            **({f"change: {said}": kind.count_moves(said) for said in MOVES_SAID} if told else {}),
        }
        for kind in kinds_of(additions)
    ]


_ORDER = (Equivalence.BEYOND, Equivalence.UNDECIDED, Equivalence.WITHIN)


def addition_rows(additions: Sequence[Addition]) -> list[dict[str, Any]]:
    """A row for each group: what departs first, then the largest interactions; squared changes where any is kept."""
    told = any(isinstance(a.moved, JointMove) for a in additions)
    return [
        {
            "verdict": a.said,
            "treatment": a.treatment,
            "interaction": 100 * a.interaction[0],
            "low": 100 * a.interaction[1],
            "high": 100 * a.interaction[2],
            "p": a.p,
            "decomposition alone": 100 * a.decomposed[0],
            "quantization alone": 100 * a.quantized[0],
            "sum": 100 * a.summed[0],
            "joint": 100 * a.joint[0],
            **(_move_row(a) if told else {}),
            "run": a.run_id,
        }
        for a in sorted(additions, key=lambda a: (not a.departs, _ORDER.index(a.verdict), -abs(a.interaction[0])))
    ]
