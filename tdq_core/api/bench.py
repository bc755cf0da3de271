"""Networks in hand against each other on the clock."""

from collections.abc import Mapping, Sequence

from tdq_core.api.image_sets import ImagePair
from tdq_core.api.networks import Network
from tdq_core.api.verbs import Quantized, example_for
from tdq_core.compression.quantize.torch_float import module_predict
from tdq_core.data.images import Images
from tdq_core.errors import InputError
from tdq_core.pipeline.bench import bench as bench_run
from tdq_core.pipeline.speed.races import Runner, Settings, races
from tdq_core.pipeline.speed.record import Race as Race
from tdq_core.records.record import RunRecord
from tdq_core.specs.precision import ONNXRUNTIME, TORCH
from tdq_core.system.containment import contained
from tdq_core.system.progress import Progress, silent


@contained()
def bench(
    what: Network | Quantized | RunRecord,
    *,
    against: Mapping[str, Network | Quantized] | None = None,
    images: ImagePair | Images | None = None,
    batches: Sequence[int] = (1, 16),
    threads: Sequence[int] = (1, 0),
    seconds: float = 2.0,
    on_progress: Progress = silent,
) -> tuple[Race, ...]:
    """How long one call takes: medians, quartiles, and how many times as fast as others, round by round.

    `print(race.ratios["dense"].verdict)` is 'faster', 'slower', or 'cannot tell' where the spread is too wide.

    Args:
        what: a network or what `quantize` made of one; or a run's record, which is built again and runs against the
            dense model at its precision and at fp32.
        against: the others, by name, on the same backend.
        images: (N, C, H, W) to call it with; None: noise.
        batches: images a call; threads: of the runtime, 0: all; seconds: of each race.

    Raises:
        InputError: others on another backend; a batch or threads that cannot be.
    """
    settings = Settings(tuple(batches), tuple(threads), seconds)
    if isinstance(what, RunRecord):
        if against or images is not None:
            raise InputError("A record has its rivals and images: leave 'against' and 'images' out.")
        return bench_run(what, what.spec, settings, on_progress=on_progress).races
    run, rivals = _runner(what), {name: _runner(each) for name, each in (against or {}).items()}
    if other := [name for name, each in rivals.items() if each.backend != run.backend]:
        raise InputError(
            f"All that is compared runs on one backend, here {run.backend}. '{other[0]}' runs on "
            f"{rivals[other[0]].backend}: quantize it for the same one."
        )
    shown = images.eval if isinstance(images, ImagePair) else images
    network = what.network if isinstance(what, Quantized) else what
    return tuple(races(run, rivals, example_for(network, shown), settings, on_progress=on_progress))


def _runner(what: Network | Quantized) -> Runner:
    if isinstance(what, Quantized):
        precision, file = what.path.name.split(".")[1], what.path
        if file.suffix == ".onnx":
            return Runner(ONNXRUNTIME.name, precision, file)
        return Runner(TORCH.name, precision, what.artefact.predict)
    return Runner(TORCH.name, "fp32", module_predict(what.module))
