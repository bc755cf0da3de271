"""`tdq additivity --layers`: where decomposition and rounding meet, by the sensitivities of a network."""

from collections.abc import Sequence

from tdq_core.cli.records import end
from tdq_core.cli.terminal import say, say_json, say_table
from tdq_core.errors import InputError
from tdq_core.prediction.meeting import Meeting, Total, form_label, meetings, totals
from tdq_core.prediction.sensitivity import SENSITIVITIES, Sensitivities
from tdq_core.records.store import Store
from tdq_core.specs.option import require_choice
from tdq_core.specs.precision import PRECISIONS


def print_meetings(model: str | None, precision: str, *, as_json: bool) -> None:
    """Of `model`, or of all networks whose sensitivities are kept. InputError: there are none, or no such numbers."""
    require_choice("precision", precision, tuple(name for name, row in PRECISIONS.items() if row.integer))
    numbers = PRECISIONS[precision]
    kept = Store(SENSITIVITIES).found()
    found = [s for s in kept.values if model in (None, s.spec.model.name)]
    if not found:
        known = ", ".join(sorted({s.spec.model.name for s in kept.values})) or "no network"
        asked = f"Got '{model}'" if model else "There are none"
        raise InputError(f"Where decomposition and rounding meet is told by sensitivities, which are kept of {known}. "
                         f"{asked}: `tdq sensitivity` measures them.")  # fmt: skip
    rows = [(own, meetings(own, numbers)) for own in found]
    if as_json:
        say_json([{"model": own.spec.model.name, "sensitivity": own.sensitivity_id, "precision": precision,
                   "layer": row.layer, "dense": row.dense, "factors": dict(row.factors)}
                  for own, own_rows in rows for row in own_rows])  # fmt: skip
    else:
        for own, own_rows in rows:
            _print(own, own_rows, numbers.label)
    end(kept.left_out)


def _print(own: Sensitivities, rows: Sequence[Meeting], numbers: str) -> None:
    say("", f"{own.spec.model.name}, {own.images} calibration images, layers rounded alone to {numbers}")
    forms = totals(rows, worst=3)
    heads = ("layer", "dense", *(form_label(total.form) for total in forms))
    table = [(row.layer, _size(row.dense), *(_size(row.factors.get(total.form)) for total in forms)) for row in rows]
    together = ("all layers", _size(sum(row.dense for row in rows)), *(_size(total.factors) for total in forms))
    say_table(heads, [*table, together], right=heads[1:])
    for total in forms:
        say(_said(total))
    say("Mean squared change of the logits, as a share of their mean square; factors fitted to outputs, at about 0.42 "
        "of a layer's params. Once as far as the dense layers: the changes add up.")  # fmt: skip


def _said(total: Total) -> str:
    where = ", ".join(name for name, _ in total.worst)
    most = f"; most beyond them: {where}" if where else ""
    return (f"{form_label(total.form)}: rounding the factors of {total.layers} layers moves the answers "
            f"{total.times:.3g} times as far as rounding these layers dense{most}.")  # fmt: skip


def _size(change: float | None) -> str:
    return "" if change is None else f"{change:.2g}"
