"""Whole runs: measured, kept, found again."""

import warnings
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from tdq_core.api.image_sets import ImagePair
from tdq_core.api.networks import Network
from tdq_core.errors import InputError
from tdq_core.pipeline.export import require_export
from tdq_core.pipeline.exports.export import require_free, settle
from tdq_core.pipeline.inputs import RunInputs
from tdq_core.pipeline.run import Outcome, run_opened
from tdq_core.pipeline.session import Session, followed
from tdq_core.records.record import RunRecord
from tdq_core.records.store import RunStore
from tdq_core.records.table import row, to_csv
from tdq_core.specs import ModelSpec, RankRule, RunSpec
from tdq_core.specs.formats import file_format
from tdq_core.system.extras import install_command
from tdq_core.system.progress import Progress, silent

if TYPE_CHECKING:
    import pandas as pd


@overload
def run(
    what: RunSpec,
    *,
    store: RunStore | None = None,
    session: Session | None = None,
    on_progress: Progress = silent,
    allowed_models: Collection[str] | None = None,
    export: Path | None = None,
    again: bool = False,
) -> Outcome: ...
@overload
def run(
    what: Network,
    images: ImagePair,
    *,
    store: RunStore | None = None,
    session: Session | None = None,
    on_progress: Progress = silent,
    export: Path | None = None,
    again: bool = False,
    **options: Any,
) -> Outcome: ...
def run(
    what: RunSpec | Network,
    images: ImagePair | None = None,
    *,
    store: RunStore | None = None,
    session: Session | None = None,
    on_progress: Progress = silent,
    allowed_models: Collection[str] | None = None,
    export: Path | None = None,
    again: bool = False,
    **options: Any,
) -> Outcome:
    """Measure one point and keep its record, or find it where it was measured before.

    Args:
        what: a spec; or a network, then with `images` and the run's `options` by name (`method`, `rule` or `ratio`,
            `precision`, `backend`, `epc`, `calibrated`, `condition`, ...; see `tdq_core.specs.parts`).
        store: where records are looked for and written; None: `runs/` and the shipped ones.
        session: what earlier runs have opened and found, and this one may use.
        allowed_models: models that are not registered but may be loaded; None: any.
        export: also write the artefact, its ranks, the record and a card into this folder; the file is scored again in
            a new process.
        again: measure it though it was measured before; its new record takes the place of the one in `runs/`.

    Returns:
        The record, and whether it was there already. A run that is refused or fails has a record too, with its reason.

    Raises:
        InputError: a wrong request; nothing is recorded.
        RunFailed: what was exported does not score in a new process what was measured; the record is kept.
    """
    if export:
        require_export(export)
    session = session or Session()
    if isinstance(what, RunSpec):
        inputs, named = session.open(what, on_progress=on_progress, allowed_models=allowed_models), True
    elif images is None:
        raise InputError("A network is measured on images: give them too, see `images`.")
    else:
        inputs, named = _inputs(what, images, options), what.spec is not None
    if export:
        require_free(export, inputs.run_id, file_format(inputs.spec))
    outcome = run_opened(inputs, store=store, session=session, on_progress=on_progress, export=export, again=again)
    if export and outcome.artefact:
        settle(export, outcome.artefact, inputs, outcome.record, named=named, on_progress=on_progress)
    return outcome


def _inputs(network: Network, images: ImagePair, options: dict[str, Any]) -> RunInputs:
    """What a run stands on, made of what is in hand."""
    if network.results:
        raise InputError("A run begins at a network that is not compressed: give that, and what is to be done to it.")
    if "ratio" in options:
        options = options | {"rule": RankRule("ratio", options["ratio"])}
        del options["ratio"]
    spec = _spec(network, images, options)
    notes = [*network.model.notes, *images.eval.notes]
    digests = {"model": network.model.digest, "data": images.eval.digest}
    calib = None
    if spec.needs_calibration:
        if images.calib is None:
            raise InputError("This run looks at calibration images: give `images(..., calib=...)`.")
        calib, digests["calib"] = images.calib, images.calib.digest
    if network.spec is None or images.source is None:
        notes.append("The network or the images were given in Python: no command measures this run again.")
    found = followed(spec, digests)
    return RunInputs(spec, network.model, images.eval, calib, digests, tuple(notes), found)


def _spec(network: Network, images: ImagePair, options: dict[str, Any]) -> RunSpec:
    named = network.spec or ModelSpec(f"{network.name} (given in Python)")
    model = {"weights": named.weights, "mean": named.mean, "std": named.std, "input_size": named.input_size}
    return RunSpec.of(
        named.name, images.source or images.eval.ref, calib=images.calib_source, samples=images.samples,
        calib_samples=images.calib_samples, seed=images.seed, **model, **options,
    )  # fmt: skip


class Runs:
    """Records, as a sequence and as a table.

    Attributes:
        left_out: a sentence for each file that could not be read, or is no record.
    """

    def __init__(self, records: Sequence[RunRecord], left_out: tuple[str, ...] = ()) -> None:
        self._records, self.left_out = records, left_out

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[RunRecord]:
        return iter(self._records)

    def __getitem__(self, at: int) -> RunRecord:
        return self._records[at]

    def of(self, model: str) -> "Runs":
        """Those of one model."""
        return Runs([r for r in self if r.spec.model.name == model], self.left_out)

    def frame(self) -> "pd.DataFrame":
        """One row a run, in full precision: the columns of `tdq csv`.

        Raises:
            InputError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise InputError(
                f"A frame needs pandas, not installed here: {install_command('dashboard')}. `csv()` needs nothing."
            ) from error

        return pd.DataFrame([row(r) for r in self])

    def csv(self) -> str:
        """The same as CSV."""
        return to_csv(self)


def runs(*folders: str | Path) -> Runs:
    """All records in these folders; none given: yours and the shipped ones. What could not be read is in `left_out`,
    and a warning."""
    found = RunStore(*map(Path, folders)).found()
    for sentence in found.left_out:
        warnings.warn(sentence, stacklevel=2)
    return Runs(found.values, found.left_out)
