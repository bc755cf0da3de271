"""Open images by name: the one door to every source."""

from tdq_core.data import builtin, folders
from tdq_core.data.cifar10_jpeg import cifar10_jpeg
from tdq_core.data.images import ImageSet
from tdq_core.data.listing import Listing
from tdq_core.data.refs import DataRef, parse_ref
from tdq_core.data.subsets import balanced_indices
from tdq_core.errors import InputError
from tdq_core.system.progress import Progress, silent

SPLITS = {"eval": "test", "calib": "train", "train": "train", "val": "val"}
"""What each role reads from a source with splits of its own."""


def open_images(
    ref: str, *, role: str, samples: int | None, seed: int, num_classes: int | None, on_progress: Progress = silent
) -> ImageSet:
    """The images that `ref` names, in a fixed order, with labels and a digest of their content.

    Args:
        ref: 'digits', 'cifar10[:ROOT]', 'cifar10-jpeg[:ROOT]', 'imagenet:ROOT' or 'folder:DIR'.
        role: 'eval', 'calib', 'train' or 'val'; digits and both cifar10 have splits of their own (see `SPLITS`; nobody
            looks at the labels of calibration images), folders are read whole whatever the role.
        samples: size of the seeded class-balanced subset, None for all; for 'calib' it is a maximum.
        num_classes: that the model tells apart (None: any); a source with another number is an error, but for
            calibration images, whose labels are not read.

    Raises:
        InputError: a wrong name, a missing or empty folder, wrong classes, too few images, or no connection.
    """
    if role not in SPLITS:
        raise InputError(f"The 'role' of images must be one of {', '.join(SPLITS)}. Got '{role}'.")
    parsed = parse_ref(ref)
    listing = _list(parsed, role, None if role == "calib" else num_classes, on_progress)
    if role == "calib" and samples is not None:
        samples = min(samples, len(listing.labels))
    if samples is not None:
        chosen, notes = balanced_indices(listing.labels, samples, seed=seed)
        listing = listing.take(chosen, notes=notes)
    return ImageSet(listing, ref=ref, on_progress=on_progress)


def _list(ref: DataRef, role: str, num_classes: int | None, on_progress: Progress) -> Listing:
    if ref.kind == "folder":
        return folders.list_folder(ref, num_classes=num_classes)
    if ref.kind == "imagenet":
        return folders.list_imagenet(ref, num_classes=num_classes)
    if num_classes not in (10, None):
        raise InputError(
            f"The images '{ref}' have 10 classes, and the model tells {num_classes} apart: "
            "choose another model or other images."
        )
    if ref.kind == "digits":
        return builtin.digits(SPLITS[role])
    if ref.kind == "cifar10-jpeg":
        return cifar10_jpeg(ref, SPLITS[role])
    return builtin.cifar10(ref, SPLITS[role], on_progress=on_progress)
