"""Many runs from one file."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from tdq_core.api.runs import Runs
from tdq_core.records.record import RunRecord
from tdq_core.records.store import RunStore
from tdq_core.sweeps.grid import grid_of
from tdq_core.sweeps.spec import read_sweep, sweep_of
from tdq_core.sweeps.sweep import Machines, carry_out
from tdq_core.sweeps.watch import UNWATCHED, Watch
from tdq_core.system.progress import Progress, silent


class SweptRuns(Runs):
    """The runs of a sweep, as `runs()` gives them.

    Attributes:
        reused: how many were measured before, and not again.
        complaints: why others could not be measured, or a record not be kept: a sentence each.
        grid_left_out: by reason how many combinations make no run.
    """

    def __init__(
        self, records: Sequence[RunRecord], reused: int, complaints: tuple[str, ...], left_out: Mapping[str, int]
    ) -> None:
        super().__init__(records)
        self.reused, self.complaints, self.grid_left_out = reused, complaints, left_out


def sweep(
    what: str | Path | Mapping[str, Any],
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    resources: Mapping[str, float] | None = None,
    timeout: float | None = None,
    memory: int | None = None,
    store: RunStore | None = None,
    watch: Watch = UNWATCHED,
    on_progress: Progress = silent,
    allowed_models: Collection[str] | None = None,
) -> SweptRuns:
    """Measure every point of a grid that is not measured yet; each record is kept as soon as it comes.

    Nothing needs to stand under `if __name__ == "__main__"`: workers are processes of their own. Asked for again, it
    goes on where it was, whatever was killed meanwhile.

    Args:
        what: a TOML file, or the same as a mapping: `{"model": "digits_resnet", "data": "digits", "method": ["cp",
            "tucker2"], "ratio": [2, 3]}`; see `docs/sweeps.md`.
        workers: on this machine; None: as many as suit it.
        scheduler: of a Dask cluster that is there already: 'tcp://HOST:PORT'.
        resources: what a worker of it must have, as {"GPU": 1}.
        timeout: seconds that each run may take; memory: bytes that each worker may take.
        store: where records are looked for and written; None: `runs/` and the shipped ones.
        watch: who listens to records as they come, see `tdq_core.sweeps.watch`.
        allowed_models: models that are not registered but may be loaded; None: any.

    Returns:
        The records in the order of the file; failed and refused ones too, with their reasons.

    Raises:
        InputError: a wrong sweep, a network or images that cannot be opened; nothing was measured.
        NotNow: the cluster was lost; what was measured is kept.
    """
    grid = grid_of(sweep_of(what) if isinstance(what, Mapping) else read_sweep(Path(what)))
    machines = Machines(workers, scheduler, resources or {}, timeout, memory)
    swept = carry_out(
        grid, machines=machines, store=store, watch=watch, on_progress=on_progress, allowed_models=allowed_models
    )
    return SweptRuns(swept.records, swept.reused, (*swept.complaints, *swept.not_kept), grid.left_out)
