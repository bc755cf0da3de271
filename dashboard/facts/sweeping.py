"""A sweep around the run that is planned: the same in other ratios and precisions. Pure, no streamlit."""

from collections.abc import Sequence
from typing import Any

import msgspec

from tdq_core.errors import InputError
from tdq_core.specs import BACKENDS, PRECISIONS, RankRule, RunSpec
from tdq_core.specs.option import fields_of
from tdq_core.specs.run import defaults

RATIOS = (1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 8.0, 12.0)
"""That are offered."""
USUAL = (1.5, 2.0, 3.0, 4.0)


def grid_around(spec: RunSpec, ratios: Sequence[float], precisions: Sequence[str]) -> dict[str, Any]:
    """A sweep, as tables of a sweep file: `spec` at each ratio in each precision, everything else as it is there.

    A precision that the run's backend does not carry out goes to the first one that does.
    """
    usual = defaults()
    plain = {k: v for k, v in spec.to_flat().items() if k not in ("rule", "precision", "backend") and v != usual[k]}
    ways = [{"precision": name, "backend": _backend(spec, name)} for name in precisions]
    return msgspec.to_builtins({**plain, **_sharing(spec.rule), "ratio": list(ratios), "grid": ways})  # type: ignore[no-any-return]


def _sharing(rule: RankRule | None) -> dict[str, Any]:
    """How the run's rule shares out a ratio, and whether it takes the ends too."""
    if rule is None or rule.kind != "ratio":
        return {}
    shared = {f.name: getattr(rule, f.name) for f in fields_of(RankRule) if getattr(rule, f.name) != f.default}
    return shared if rule.keep_ends else {**shared, "decompose_ends": True}


def offered(spec: RunSpec) -> list[str]:
    """The precisions in which the run could be measured."""
    return [name for name in PRECISIONS if _goes(spec, name, _backend(spec, name))]


def _backend(spec: RunSpec, precision: str) -> str:
    """The run's, or the first one that carries out the precision."""
    return next(
        name for name in (spec.precision.backend, *BACKENDS) if BACKENDS[name].carries_out(PRECISIONS[precision])
    )


def _goes(spec: RunSpec, precision: str, backend: str) -> bool:
    try:
        spec.changed(precision=precision, backend=backend)
    except InputError:
        return False
    return True
