"""Which policy loses least at the same ratio: `predicted` against the others, on the same images, in pairs.

    python -m benchmarks.policies --data cifar10-jpeg:FOLDER [--model NAME] [--kept 0.6,0.4,0.25] [--precision fp32]

Tucker-2 (predicted, global, uniform) and CP + EPC (predicted, uniform: no spectrum predicts its error), fitted to
outputs. The network's sensitivities must be there. Prints each drop with what had been predicted, and what `predicted`
loses less than each other policy, with paired 95 % intervals.
"""

import argparse
from collections.abc import Iterator

import tdq_core as tdq
from tdq_core.cli.terminal import say, say_table
from tdq_core.prediction.track import prediction_of
from tdq_core.records.record import RunRecord
from tdq_core.specs import RankRule, RunSpec
from tdq_core.stats.intervals import paired_mean

METHODS = {"tucker2": ("predicted", "global", "uniform"), "cp": ("predicted", "uniform")}


def specs(asked: argparse.Namespace) -> Iterator[tuple[str, float, str, RunSpec]]:
    """(method, share kept, policy, run)."""
    for method, policies in METHODS.items():
        for kept in map(float, asked.kept.split(",")):
            for policy in policies:
                rule = RankRule("ratio", 1 / kept, policy=policy)
                yield method, kept, policy, RunSpec.of(
                    asked.model, asked.data, method=method, epc=method == "cp", rule=rule, calibrated=True,
                    precision=asked.precision, samples=asked.images, calib_samples=asked.calib,
                )  # fmt: skip


def less(record: RunRecord, other: RunRecord) -> str:
    """What `record` loses less than `other`, in points."""
    assert record.metrics and other.metrics
    gained = record.metrics.correct().astype(float) - other.metrics.correct().astype(float)
    middle, low, high = (100 * x for x in paired_mean(gained))
    return f"{middle:+.2f} [{low:+.2f}, {high:+.2f}]"


def row(method: str, kept: float, policy: str, record: RunRecord, best: RunRecord) -> tuple[str, ...]:
    drop, low, high = (100 * x for x in record.drop())
    guess = prediction_of(record)
    foreseen = f"{100 * guess.drop:.2f}" if guess and guess.drop is not None else ""
    gained = less(best, record) if record is not best else ""
    return method, f"{kept:.0%}", policy, foreseen, f"{drop:+.2f} [{low:+.2f}, {high:+.2f}]", gained


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.policies", description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet20_cifar10")
    parser.add_argument("--data", default="cifar10-jpeg")
    parser.add_argument("--kept", default="0.6,0.4,0.25")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--images", type=int, help="evaluated; all by default")
    parser.add_argument("--calib", type=int, default=1000)
    asked = parser.parse_args()
    rows, best = [], {}
    for method, kept, policy, spec in specs(asked):
        record = tdq.run(spec).record
        best.setdefault((method, kept), record)
        say(f"{method} {kept:.0%} {policy}: {record.reason or f'{100 * record.drop()[0]:+.2f}'}")
        if record.metrics:
            rows.append(row(method, kept, policy, record, best[method, kept]))
    say_table(("method", "kept", "policy", "predicted", "drop", "predicted loses less by"), rows)


if __name__ == "__main__":
    main()
