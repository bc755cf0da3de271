"""`tdq additivity`: whether the drops of decomposition and quantization add up, for a margin that a person sets."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer

from tdq_core.analysis.additivity import SHARE, Interval, Judged, find_cells, judged, require_margin
from tdq_core.analysis.joint_moves import JointMove, NoMove, require_share
from tdq_core.cli.meeting import print_meetings
from tdq_core.cli.options import JsonFlag
from tdq_core.cli.records import ModelFilter, chosen, end
from tdq_core.cli.terminal import say, say_json, say_table
from tdq_core.errors import InputError
from tdq_core.records.record import RunRecord
from tdq_core.records.table import method_text, numbers_text, ranks_text
from tdq_core.stats.equivalence import Equivalence

SAID = {Equivalence.WITHIN: "additive", Equivalence.BEYOND: "not additive", Equivalence.UNDECIDED: "too few images"}
"""For people."""


def additivity(
    model: ModelFilter = None,
    margin: Annotated[
        float | None,
        typer.Option(help="Points of top-1 by which the joint drop may miss the sum and still be additive; 1 if none."),
    ] = None,
    share: Annotated[
        float | None,
        typer.Option(
            help="Per cent of the sum by which the joint squared change of the logits may miss it and still "
            f"be additive; {100 * SHARE:g} if none."
        ),
    ] = None,
    layers: Annotated[
        bool, typer.Option("--layers", help="By layer: where decomposition and rounding meet, by the sensitivities.")
    ] = False,
    precision: Annotated[
        str | None, typer.Option(help="With --layers: the numbers that layers are rounded to; int8 if none.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Hold every joint drop against the sum of the drop by decomposition and the drop by quantization."""
    if layers:
        if margin is not None or share is not None:
            raise InputError(
                "A margin is one of runs (--margin, --share): --layers tells it layer by layer. Leave it out."
            )
        print_meetings(model, precision or "int8", as_json=as_json)
        return
    if precision is not None:
        raise InputError("A precision is one of --layers: without it, all runs are judged. Leave it out.")
    margin = 1.0 if margin is None else margin
    limits = require_margin(margin / 100), require_share(SHARE if share is None else share / 100)
    records, told = chosen(model)
    groups = {what: _worst_first(judged(find_cells(own), *limits)) for what, own in _by_images(records).items()}
    found = {what: rows for what, rows in groups.items() if rows}
    if as_json:
        say_json([_plain(row, *limits) for rows in found.values() for row in rows])
    elif not found:
        say("No group of four cells is complete: dense, decomposed, quantized, and both, with the same ranks.")
    else:
        for (name, n), rows in found.items():
            _print(name, n, rows, margin)
            _print_moves(rows, limits[1])
    end(told)


def _by_images(records: Sequence[RunRecord]) -> dict[tuple[str, int], list[RunRecord]]:
    """Complete runs by network and images, which are looked at together."""
    found: dict[tuple[str, str], list[RunRecord]] = {}
    for record in records:
        if record.metrics:
            found.setdefault((record.digests["model"], record.digests["data"]), []).append(record)
    return {(f"{own[0].spec.model.name} on {own[0].spec.images.data} ({own[0].run_id[:8]})", own[0].metrics.n): own
            for own in found.values() if own[0].metrics}  # fmt: skip


def _worst_first(rows: Sequence[Judged]) -> list[Judged]:
    order = (Equivalence.BEYOND, Equivalence.UNDECIDED, Equivalence.WITHIN)
    return sorted(rows, key=lambda row: (order.index(row.verdict), -abs(row.interaction[0])))


def _print(name: str, n: int, rows: Sequence[Judged], margin: float) -> None:
    say("", f"{name}, {n:,} images, {len(rows)} group{'s' * (len(rows) != 1)} of four cells, margin {margin:g} points")
    table = [(*_name(row), _points(row.drops.summed), _points(row.drops.joint),
              _whole(row.interaction), f"{row.p:.2g}", _said(row)) for row in rows]  # fmt: skip
    heads = ("run", "method", "ranks", "precision", "backend", "sum", "joint", "interaction", "p", "verdict")
    say_table(heads, table, right=("sum", "joint", "interaction", "p"))
    _print_summary(rows)
    say(
        "Interaction = joint drop less the sum, in points; above zero they lose more together. Intervals hold all of "
        f"the {len(rows)} at once in 95 % (Bonferroni); p by all signs of the images, exact, corrected (Holm).",
    )


def _print_moves(rows: Sequence[Judged], share: float) -> None:
    """The same in mean squared change of the logits, of those groups that keep it; and why the others do not."""
    told = [(row, row.moved) for row in rows if isinstance(row.moved, JointMove)]
    if told:
        say("", f"In mean squared change of the logits (over their mean square), {len(told)} of {len(rows)} groups, "
            f"margin {100 * share:g} % of the sum")  # fmt: skip
        numbers = ("decomposed", "rounded", "sum", "joint", "of the sum")
        table = [(*_name(row)[:4], *(f"{size:.2g}" for size in (m.decomposed, m.quantized, m.summed, m.both)),
                  f"{_whole(m.share)} %", _verdict(m.verdict, m.images)) for row, m in told]  # fmt: skip
        say_table(("run", "method", "ranks", "precision", *numbers, "verdict"), table, right=numbers)
        _print_summary(rows, moved=True)
        say(
            "Of the sum = (joint change less the sum) / sum; above zero the answers move further together. Changes "
            "that have nothing to do with each other add up in their squares. Paired bootstrap of the images; "
            f"intervals hold all of the {len(told)} at once in 95 % (Bonferroni)."
        )
    for reason, count in Counter(row.moved.reason for row in rows if isinstance(row.moved, NoMove)).items():
        say(f"{count} of {len(rows)} groups tell nothing of squared change: {reason}.")


def _print_summary(rows: Sequence[Judged], *, moved: bool = False) -> None:
    for method, precision, counts in summary(rows, moved=moved):
        told = ", ".join(f"{counts[verdict]} {SAID[verdict]}" for verdict in Equivalence if counts[verdict])
        say(f"{method}, {precision}: {told}.")


def summary(rows: Sequence[Judged], *, moved: bool = False) -> Iterator[tuple[str, str, Counter[Equivalence]]]:
    """By method and precision: how many of each verdict, of drops, or in squared change, of those that keep it."""
    found: dict[tuple[str, str], Counter[Equivalence]] = {}
    for row in rows:
        spec, told = row.cells.both.spec, row.moved if moved else row
        if not isinstance(told, NoMove):
            found.setdefault((method_text(spec), numbers_text(spec)), Counter())[told.verdict] += 1
    yield from ((*what, counts) for what, counts in sorted(found.items()))


def _name(row: Judged) -> tuple[str, ...]:
    spec = row.cells.both.spec
    return (row.cells.both.run_id[:8], method_text(spec), ranks_text(spec), numbers_text(spec), spec.precision.backend)


def _said(row: Judged) -> str:
    return _verdict(row.verdict, row.images)


def _verdict(verdict: Equivalence, images: int | None) -> str:
    if verdict is not Equivalence.UNDECIDED:
        return SAID[verdict]
    return f"{SAID[verdict]}: {'no number decides it' if images is None else f'about {images:,}'}"


def _points(interval: Interval) -> str:
    return f"{100 * interval[0]:+.2f}"


def _whole(interval: Interval) -> str:
    middle, low, high = (100 * x for x in interval)
    return f"{middle:+.2f} [{low:+.2f}, {high:+.2f}]"


def _plain(row: Judged, margin: float, share: float) -> dict[str, Any]:
    cells = row.cells
    return {
        "run": cells.both.run_id, "decomposed": cells.decomposed.run_id, "quantized": cells.quantized.run_id,
        "dense": cells.dense.run_id, "model": cells.both.spec.model.name, "method": method_text(cells.both.spec),
        "precision": cells.both.spec.precision.name,
        "quantization_aware": cells.both.spec.precision.quantization_aware, "sum": row.drops.summed[0],
        "joint": row.drops.joint[0], "interaction": row.interaction[0], "low": row.interaction[1],
        "high": row.interaction[2], "margin": margin, "verdict": row.verdict.value, "images": row.images,
        "p": row.p, "moved": _plain_move(row.moved, share),
        "not_moved": row.moved.text if isinstance(row.moved, NoMove) else None,
    }  # fmt: skip


def _plain_move(moved: JointMove | NoMove, share: float) -> dict[str, Any] | None:
    """Mean squared changes of the logits, over their mean square."""
    if isinstance(moved, NoMove):
        return None
    ends = {name: dict(zip(("middle", "low", "high"), interval, strict=True))
            for name, interval in (("interaction", moved.interaction), ("share", moved.share))}  # fmt: skip
    return {"decomposed": moved.decomposed, "quantized": moved.quantized, "sum": moved.summed, "joint": moved.both,
            **ends, "margin": share, "verdict": moved.verdict.value, "images": moved.images}  # fmt: skip
