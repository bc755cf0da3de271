"""Which runs may stand in one chart: the same model, the same images, all complete."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tdq_core.records.record import RunRecord
from tdq_core.records.table import ranks_text
from tdq_core.specs import BACKENDS, PRECISIONS, RunSpec
from tdq_core.specs.variant import variant_of, variants


class Group(NamedTuple):
    """Complete runs of one model on the same images, with the unfinished ones of that model and these images.

    Attributes:
        key: short and stable; stands in the URL.
        label: for people.
        about: the spec of one of its runs, for the subject that they share.
    """

    key: str
    label: str
    about: RunSpec
    n: int
    complete: tuple[RunRecord, ...]
    unfinished: tuple[RunRecord, ...]


def group_runs(records: Iterable[RunRecord]) -> list[Group]:
    """Groups by the content of model and images, largest first; images of one digest are equally many."""
    found: dict[tuple[str, str], list[RunRecord]] = {}
    for record in records:
        found.setdefault((record.digests["model"], record.digests["data"]), []).append(record)
    groups = [_group(key, members) for key, members in found.items()]
    labels = Counter(g.label for g in groups)  # two that look alike, after new weights say, are told apart
    groups = [g._replace(label=f"{g.label} ({g.key})") if labels[g.label] > 1 else g for g in groups]
    return sorted(groups, key=lambda g: (-len(g.complete), g.label, g.key))


def _group(key: tuple[str, str], members: Sequence[RunRecord]) -> Group:
    first = members[0]
    members = in_order(members)
    complete = tuple(r for r in members if r.state == "complete")
    n = complete[0].metrics.n if complete and complete[0].metrics else first.provenance.get("n") or 0
    split = first.provenance.get("split") or first.spec.images.data
    weights = first.provenance.get("weights")
    origin = f" ({weights})" if weights and first.spec.model.weights is not None else ""
    label = f"{first.spec.model.name}{origin} on {n:,} images of {split}"
    unfinished = tuple(r for r in members if r.state != "complete")
    return Group(f"{key[0][:8]}-{key[1][:8]}", label, first.spec, n, complete, unfinished)


def in_order(records: Iterable[RunRecord]) -> list[RunRecord]:
    """By model, method, size, precision and backend: neighbours differ in one thing."""
    return sorted(records, key=lambda record: record.remembered(_place))


def _place(record: RunRecord) -> tuple[object, ...]:
    spec, metrics = record.spec, record.metrics
    numbers, treatment = spec.precision, spec.treatment
    ratio = metrics.compression_ratio if metrics else 0.0
    kinds = (
        variants().index(variant_of(spec)),
        treatment.finetune,
        treatment.reestimate_bn,
        ranks_text(spec) if spec.rule and spec.rule.kind != "ratio" else "",
        round(ratio, 1),
    )
    precision, backend = list(PRECISIONS).index(numbers.name), list(BACKENDS).index(numbers.backend)
    quantizer = (spec.conditioned, numbers.granularity, numbers.ranges)
    return spec.model.name, *kinds, precision, backend, *quantizer, record.run_id


def left_out_text(group: Group, records: Sequence[RunRecord]) -> str:
    """Which runs of `records` the chart of `group` does not draw, and why; '' where it draws all."""
    states = Counter(r.state for r in group.unfinished)
    elsewhere = len(records) - len(group.complete) - len(group.unfinished)
    reasons = [f"{states[s]} {s}" for s in ("failed", "refused") if states[s]]
    reasons += [f"{elsewhere} on another model or other images"] if elsewhere else []
    total = sum(states.values()) + elsewhere
    return f"{total} run{'s' * (total != 1)} not drawn: {', '.join(reasons)}." if total else ""


def best_run(records: Sequence[RunRecord]) -> str:
    """Of complete runs the one to show first: the smallest file that loses at most a point, else the least loss."""
    ranked = sorted(records, key=lambda r: (max(r.drop()[0], 0.01), r.bytes_ratio() * -1, r.run_id))
    return ranked[0].run_id
