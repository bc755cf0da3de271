"""Networks and runs as files for use elsewhere, and whether such files still are what was measured."""

import json
import shutil
from pathlib import Path

from tdq_core.api.image_sets import ImagePair
from tdq_core.api.networks import Network
from tdq_core.api.verbs import Quantized, example_for
from tdq_core.compression.quantize import Artefact, Request, realise
from tdq_core.data.images import Images
from tdq_core.errors import InputError
from tdq_core.models.weights_ref import RANKS
from tdq_core.pipeline.export import require_export
from tdq_core.pipeline.exports.export import Exported as Exported
from tdq_core.pipeline.exports.export import Made, Source, export_run, finish, require_free
from tdq_core.pipeline.exports.saturation import Repaired as Repaired
from tdq_core.pipeline.exports.saturation import repair as repair
from tdq_core.pipeline.exports.saturation import saturation as saturation
from tdq_core.pipeline.exports.verify import Verified as Verified
from tdq_core.pipeline.exports.verify import verify as verify
from tdq_core.pipeline.exports.without_vnni import Saturation as Saturation
from tdq_core.records.record import RunRecord
from tdq_core.specs.formats import FORMATS
from tdq_core.specs.option import require_choice
from tdq_core.system.containment import contained
from tdq_core.system.files import write_atomically
from tdq_core.system.progress import Progress, silent


@contained()
def export(
    what: Network | Quantized | RunRecord,
    to: str | Path,
    *,
    format: str | None = None,
    images: ImagePair | Images | None = None,
    on_progress: Progress = silent,
) -> Exported:
    """Write a file that others can run, with a card beside it; it is run, and scored, in a new process.

    Args:
        what: a network (at fp32), what `quantize` made of one, or a run's record, which is built again.
        to: the folder; made where it is absent.
        format: 'onnx', 'safetensors' or 'pt2'; None: that of the file that `quantize` wrote, else 'onnx'.
        images: labelled ones to score it on; a record has its own. None: its logits on noise are compared, no more.

    Raises:
        InputError: a format that cannot hold these numbers, a folder that cannot be written to, images without labels.
        RunFailed: the file does not answer in a new process as it does here.
    """
    folder = Path(to)
    if isinstance(what, RunRecord):
        if images is not None:
            raise InputError("A record names the images that it was measured on: leave 'images' out.")
        return export_run(what, what.spec, format or "onnx", folder, on_progress=on_progress)
    shown = images.eval if isinstance(images, ImagePair) else images
    if shown is not None and (shown.labels < 0).any():
        raise InputError(f"An export is scored on labelled images, and some in '{shown.ref}' have none.")
    require_choice("format", format := format or _usual(what), FORMATS)
    require_export(folder)
    require_free(folder, None, format)
    if isinstance(what, Quantized):
        network, artefact = what.network, _copied(what, format, folder)
    else:
        network, artefact = what, _written(what, format, folder, shown)
    if FORMATS[format].rebuilt:
        write_atomically(folder / RANKS, json.dumps({name: list(ranks) for name, ranks in network.ranks.items()}))
    decomposed = f"{len(network.results)} layers of it decomposed" if network.results else "no layer of it decomposed"
    name = network.spec.name if network.spec else None
    made = Made(artefact, name or network.name, _precision(artefact), network.preprocessing, network.params,
                network.macs, f"In Python: {decomposed}.", name or network.model.module)  # fmt: skip
    source = Source(shown, images.source if isinstance(images, ImagePair) else None,
                    images.samples if isinstance(images, ImagePair) else None,
                    images.seed if isinstance(images, ImagePair) else 0) if shown is not None else None  # fmt: skip
    return Exported(folder, finish(folder, made, source, on_progress=on_progress))


def _usual(what: Network | Quantized) -> str:
    return what.path.suffix.removeprefix(".") if isinstance(what, Quantized) else "onnx"


def _precision(artefact: Artefact) -> str:
    """As files are named: 'model.int8.onnx'."""
    return artefact.path.name.split(".")[1]


def _written(network: Network, format: str, folder: Path, images: Images | None) -> Artefact:
    request = Request(example=example_for(network, images), calibration=None, folder=folder, program=format == "pt2")
    return realise(network.module, "fp32", FORMATS[format].backend, request=request)


def _copied(what: Quantized, format: str, folder: Path) -> Artefact:
    """The file of `quantize`, in `folder`."""
    if what.path.suffix != f".{format}":
        raise InputError(
            f"What was quantized lies in '{what.path.name}': its format is {_usual(what)}. Got '{format}': quantize "
            "for the other backend, or leave the format out."
        )
    target = folder / what.path.name
    if target.resolve() != what.path.resolve():
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(what.path, target)
    artefact = what.artefact
    return Artefact(target, artefact.bytes, artefact.predict, artefact.details, artefact.notes)
