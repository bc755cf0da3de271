"""What a run will cost in accuracy, before it is measured."""

from collections.abc import Collection, Iterable

from tdq_core.pipeline.session import Session, require_sensitivities
from tdq_core.prediction.inverse import with_drop
from tdq_core.prediction.predictor import Prediction
from tdq_core.prediction.sensitivity import SENSITIVITIES
from tdq_core.prediction.shelf import missing, predictor_for, sensitivities_for
from tdq_core.ranks.plan import make_plan
from tdq_core.records.record import RunRecord
from tdq_core.records.store import RunStore, Store
from tdq_core.specs import RunSpec
from tdq_core.system.containment import contained
from tdq_core.system.progress import Progress, silent


@contained()
def aimed(
    spec: RunSpec,
    drop: float,
    *,
    records: Iterable[RunRecord] | None = None,
    on_progress: Progress = silent,
    allowed_models: Collection[str] | None = None,
) -> RunSpec:
    """`spec` with the ranks that save most at a predicted drop of at most `drop` (share of the images, 0-1).

    Its rank rule says what is to be saved (params, MACs), and its ratio is replaced.

    Raises:
        InputError: the sensitivities of the network were never measured, or not with what `spec` does.
        Refused: so little cannot be lost.
    """
    session = Session()
    model = session.model(spec.model, seed=spec.seed, on_progress=on_progress, allowed_models=allowed_models)
    found = require_sensitivities(spec, model.digest)
    return with_drop(predictor_for(spec, found, RunStore().found().values if records is None else records), spec, drop)


@contained()
def predict(
    spec: RunSpec,
    *,
    records: Iterable[RunRecord] | None = None,
    on_progress: Progress = silent,
    allowed_models: Collection[str] | None = None,
) -> Prediction:
    """The drop of top-1 that a run of `spec` will have, with its 90 % interval, or why nothing is predicted.

    Nothing is built and no image passes: the sensitivities of the network, measured once (`analysis.layer_changes`),
    are added up over the plan.

    Args:
        records: runs by which the curve is refitted, as far as they are of this network; None: those in `runs/` and
            `cached_runs/`.

    Raises:
        InputError: the spec names something that does not exist, or ranks that a layer does not have.
        Refused: the ratio is out of reach.
    """
    session = Session()
    model = session.model(spec.model, seed=spec.seed, on_progress=on_progress, allowed_models=allowed_models)
    found = sensitivities_for(spec, Store(SENSITIVITIES).found().values, digest=model.digest)
    if found is None:
        return Prediction(reason=missing(spec))
    images = session.images(spec.images.data, "eval", spec.images.samples, spec.seed, model.num_classes, on_progress)
    predictor = predictor_for(spec, found, RunStore().found().values if records is None else records)
    table = predictor.table(spec)
    if spec.rule and spec.rule.budget == "bytes":  # for which more must be known of the network than its layers
        opened = session.open(spec, on_progress=on_progress, allowed_models=allowed_models)
        table = opened.table(spectra=True, on_progress=on_progress)
    plan = make_plan(table, spec.method, spec.rule, spec.precision)
    return predictor.predict(spec, plan.layers, images=len(images))
