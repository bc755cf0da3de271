"""What the policy `predicted` shares a ratio out by: the layers of a network with what they do to its answers."""

from dataclasses import replace

from tdq_core.errors import InputError
from tdq_core.layers.table import Change, Layer, LayerTable
from tdq_core.prediction.change import Asked, Unknown, rounding_change
from tdq_core.prediction.sensitivity import DENSE, LayerChanges, Sensitivities
from tdq_core.ranks.bits import named_bits
from tdq_core.specs import RunSpec
from tdq_core.specs.choices import POLICIES


def shares_by_changes(spec: RunSpec) -> bool:
    """Whether the ranks of `spec` follow from sensitivities."""
    return spec.rule is not None and POLICIES[spec.rule.policy].by_sensitivities


def plan_table(found: Sensitivities, spec: RunSpec) -> LayerTable:
    """The layers that a plan of `spec` is made from; where it shares ranks out by changes, with those of every form
    that a layer may take. Fine-tuning and batch norms follow when the ranks are there already: they share nothing out.

    Raises:
        InputError: ranks are to follow from changes, and `spec` does something to layers that was never measured.
    """
    table = found.tables["outputs" if spec.calibrated else "weights"]
    if not shares_by_changes(spec):
        return table
    try:
        asked = Asked.of(spec.changed(finetune=0, reestimate_bn=False), table.layers)
    except Unknown as unknown:
        raise InputError(
            f"The policy 'predicted' cannot share ranks out: {unknown}. Choose another policy."
        ) from unknown
    bits = named_bits(table, spec.precision)
    known = found.layers
    layers = tuple(
        replace(la, changes=_changes(la, known.get(la.name), asked, bits.get(la.name))) for la in table.layers
    )
    return replace(table, layers=layers)


def _changes(layer: Layer, own: LayerChanges | None, asked: Asked, bits: int | None) -> tuple[Change, ...]:
    """One row a form whose rounding is known too."""
    if own is None:
        return ()
    rows = []
    for form in (DENSE, *own.fits):
        method = form.removesuffix("+epc")
        points = own.fits[form].get(asked.fit, ()) if form != DENSE else ()
        if form != DENSE and not points:
            continue
        plain_cp = method == "cp" and not asked.epc
        try:
            rounded = rounding_change(own, method if plain_cp else form, asked, layer.name, bits)
        except Unknown:
            continue
        rising = sorted((point.error, point.change) for point in points)
        errors, changes = zip(*rising, strict=True) if rising else ((), ())
        rows.append(Change("none" if form == DENSE else method, errors, _never_falling(changes), rounded))
    return tuple(rows)


def _never_falling(changes: tuple[float, ...]) -> tuple[float, ...]:
    """Fewer ranks never move the answers less: what noise has put out of order is at least as large as before."""
    return tuple(max(changes[: i + 1]) for i in range(len(changes)))
