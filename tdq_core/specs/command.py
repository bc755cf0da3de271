"""A run as the command that measures it again. No torch here."""

import dataclasses
import json
import shlex
from collections.abc import Iterator

from tdq_core.specs.rank_rule import RankRule
from tdq_core.specs.run import RANDOM_WEIGHTS, RunSpec

_BY_NAME = (
    "calib", "method", "precision", "backend", "granularity", "ranges", "samples", "calib_samples", "seed",
    "finetune",
)  # fmt: skip


def command_line(spec: RunSpec) -> str:
    """The `tdq run ...` command that asks for `spec`, quoted for a POSIX shell; defaults are left out."""
    return shlex.join(["tdq", "run", *_options(spec)])


def recipe_command(spec: RunSpec, target: str, finetune: int) -> str:
    """The `tdq recipe ...` command that asks for `target` on the model and images of `spec`."""
    steps = ("--finetune", str(finetune)) if finetune else ()
    bare = dataclasses.replace(spec, latency=False)
    return shlex.join(["tdq", "recipe", *_options(bare), "--target", target, *steps])


def _options(spec: RunSpec) -> Iterator[str]:
    plain = RunSpec(spec.model, spec.data)
    yield from ("--model", spec.model, "--data", spec.data)
    if spec.weights == RANDOM_WEIGHTS:
        yield "--weights-random"
    elif spec.weights is not None:
        yield from ("--weights", spec.weights)
    for name in _BY_NAME:
        if (value := getattr(spec, name)) != getattr(plain, name):
            yield from (f"--{name.replace('_', '-')}", str(value))
    if spec.rule:
        yield from _rule(spec.rule)
    if spec.epc:
        yield from ("--epc", "--eta", repr(spec.eta))
    if spec.calibrated:
        yield "--calibrated"
    if spec.symmetric:
        yield "--symmetric"
    if spec.reestimate_bn:
        yield "--reestimate-bn"
    if not spec.condition:
        yield "--no-condition"
    for name in ("mean", "std"):
        if (values := getattr(spec, name)) is not None:
            yield from (f"--{name}", ",".join(map(repr, values)))
    if spec.input_size is not None:
        yield from ("--input-size", "x".join(map(str, spec.input_size)))
    if spec.latency:
        yield "--latency"


def _rule(rule: RankRule) -> Iterator[str]:
    if rule.kind == "manual":
        yield from ("--ranks", json.dumps(rule.to_dict()["ranks"], separators=(",", ":")))
        return
    if rule.kind == "vbmf":
        yield "--vbmf"
        if rule.value != 1:
            yield from ("--vbmf-weakening", repr(rule.value))
    else:
        yield from (f"--{rule.kind}", repr(rule.value))
    plain = RankRule(rule.kind, value=rule.value)
    for name in ("policy", "budget", "multiple", "depth"):
        if (value := getattr(rule, name)) != getattr(plain, name):
            yield from (f"--{name}", str(value))
    if not rule.keep_ends:
        yield "--decompose-ends"
