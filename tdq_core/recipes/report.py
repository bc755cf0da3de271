"""What a recipe found, as plain values. No torch here."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from tdq_core.pipeline.speed.record import Race
from tdq_core.recipes.by_time import RIVAL, ByTime, answer
from tdq_core.recipes.choices import Pick, best_first
from tdq_core.recipes.sentences import Cut, sentences
from tdq_core.recipes.target import Call, Target, parse_target
from tdq_core.records.bounds import Amount, Id, Natural, Positive
from tdq_core.records.record import Kept, RunRecord, read_kept, require_schema
from tdq_core.records.sound import require, require_text
from tdq_core.records.store import Kind
from tdq_core.specs import RunSpec

SCHEMA = 1


class Report(Kept, frozen=True):
    """The answer to one target.

    Attributes:
        recipe_id: digest of the question and of the contents of model and images.
        spec: model and images, as a run of the dense model; finetune: steps for TDQ's own pipelines.
        digests: of the model, the images and the calibration images.
        reference: the dense model in fp32 through ONNX Runtime.
        chosen: the best that meets the target; None where nothing that was tried does.
        alternatives: up to three next-best ones, of other pipelines or ratios.
        study: the best of the study's own pipeline as far as it was followed, whether it meets the target or not.
        tried: every run that was looked at, in order.
        n_choose, n_verify: images of the two halves.
        sentences: why, one a choice.
        provenance: time, machine and versions of the last run.
        call: whose time was gone by; None: the file's size was, or a latency as runs measure it.
        layers_s: seconds that it took to time the layers; None: no times were gone by, or they were known.
        races: by run, of those that were timed in turn with dense INT8.
        cut: pipelines that were not followed from their first ratio, for they could not win there.
    """

    recipe_id: Id
    target: str
    spec: RunSpec
    finetune: Natural
    digests: Mapping[str, str]
    reference: Pick
    chosen: Pick | None
    alternatives: tuple[Pick, ...]
    study: Pick | None
    tried: tuple[Pick, ...]
    n_choose: Positive
    n_verify: Positive
    sentences: tuple[str, ...]
    provenance: Mapping[str, Any]
    call: Call | None = None
    layers_s: Amount | None = None
    races: Mapping[Id, Race] = {}
    cut: tuple[Cut, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        plain = {name: msgspec.to_builtins(getattr(self, name)) for name in self.__struct_fields__}
        for name in ("call", "layers_s", "races", "cut"):  # which older reports do not have
            if not plain[name]:
                del plain[name]
        return {"schema": SCHEMA} | plain | {"spec": self.spec.to_dict()}

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=1, allow_nan=False)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Report":
        """The inverse of `to_dict`."""
        require_schema(plain, SCHEMA, "reports of recipes")
        values = {name: value for name, value in plain.items() if name != "schema"}
        report = read_kept(values, cls, f"a recipe's report of schema {SCHEMA}")
        _require_sound(report)
        return report


def _require_sound(report: Report) -> None:
    """Return where the parts of a report that was read fit each other; InputError, in a sentence, where they do not."""
    parse_target(report.target)
    require(bool(report.sentences), "It says nothing")
    require_text(*report.sentences)
    require(bool(report.chosen or report.alternatives), "It has neither a choice nor alternatives")
    for p in filter(None, (report.reference, report.chosen, report.study, *report.alternatives, *report.tried)):
        ordered = all(low <= drop <= high for drop, low, high in (p.chosen_drop, p.verified_drop))
        require(ordered, f"A drop of its run {p.run_id} lies outside of its interval")
        require(report.call is None or p.told_ms is not None or p.run_id == report.reference.run_id,
                f"It goes by times, and its run {p.run_id} has none")  # fmt: skip
    require(all(RIVAL in race.ratios for race in report.races.values()), "Its races are not with dense INT8")


RECIPES = Kind("recipe", "ask for it again", "recipes", lambda report: report.recipe_id, Report.from_dict)
"""One JSON file a report; a later answer to the same question replaces an earlier one."""


def write_up(
    target: Target, plain: RunSpec, finetune: int, reference: Pick, tried: list[tuple[Pick, RunRecord]],
    by_time: ByTime | None = None, cut: Sequence[Cut] = (),
) -> Report:  # fmt: skip
    """The report on everything that was `tried`, each with its record.

    Args:
        by_time: how times were come by, where the recipe goes by them.
        cut: pipelines that were not followed from their first ratio.
    """
    picks = [p for p, _ in tried]
    ranked = best_first(picks, target)
    chosen = answer(ranked, target, by_time.races if by_time else None)
    others = tuple(p for p in ranked if p is not chosen)[:3]
    study = next((p for p in ranked if p.arm == "study"), None)
    last = tried[-1][1]
    digests = {k: v for _, record in tried for k, v in record.digests.items()}
    assert last.metrics
    n = last.metrics.n
    alike = _alike(r for _, r in tried)
    told = sentences(target, reference, chosen, ranked, n // 2, alike=alike, by_time=by_time, cut=cut)
    return Report(
        recipe_id=_recipe_id(target, plain, finetune, digests, by_time), target=target.text, spec=plain,
        finetune=finetune, digests=digests, reference=reference, chosen=chosen, alternatives=others, study=study,
        tried=tuple(picks), n_choose=(n + 1) // 2, n_verify=n // 2, sentences=tuple(told), provenance=last.provenance,
        call=by_time.call if by_time else None, layers_s=by_time.layers_s if by_time else None,
        races=by_time.races if by_time else {}, cut=tuple(cut),
    )  # fmt: skip


def _alike(records: Iterable[RunRecord]) -> bool:
    """Whether all times were taken with one batch, number of threads and processor."""
    timed = [(r.metrics.latency, r.provenance.get("cpu")) for r in records if r.metrics and r.metrics.latency]
    return len({(latency.batch, latency.threads, str(cpu)) for latency, cpu in timed}) <= 1


def _recipe_id(
    target: Target, plain: RunSpec, finetune: int, digests: Mapping[str, str], by_time: ByTime | None
) -> str:
    asked = {"recipe": target.text, "finetune": finetune, "schema": SCHEMA} | plain.identity(digests)
    if by_time:
        asked |= {"call": msgspec.to_builtins(by_time.call)}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]
