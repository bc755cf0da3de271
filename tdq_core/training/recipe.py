"""What decides the trained weights, beside model and data, and the recipes that the shipped weights were made by."""

from dataclasses import dataclass, replace

from tdq_core.errors import InputError


@dataclass(frozen=True)
class Recipe:
    """Stochastic gradient descent with Nesterov momentum; the defaults are those of the embedded digits model.

    Its strong weight decay is on purpose: it leaves kernels of low rank, which compress well.

    Attributes:
        peak_lr: highest learning rate of the one cycle.
        shift: images are padded by this many pixels and cropped at random.
        mirror: half of the images are mirrored left to right.
        sizes: (pixels, epochs) of the first epochs, on smaller images; the epochs that are left see the full size.
        depths: (blocks, epochs) of the first epochs, in which every stage of a residual network runs only its first
            blocks; the others join later, as identities at first. Counted from the start, as `sizes` are.
        bf16: products in bfloat16 with channels last, sums and weights in float32; on a CPU without bfloat16 slow.
        fp16_file: kernels are stored in half precision; vectors (batch norm, biases) stay as they are.
    """

    epochs: int = 60
    batch: int = 64
    peak_lr: float = 0.05
    weight_decay: float = 0.02
    label_smoothing: float = 0.1
    shift: int = 1
    mirror: bool = False
    sizes: tuple[tuple[int, int], ...] = ()
    depths: tuple[tuple[int, int], ...] = ()
    bf16: bool = False
    fp16_file: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 1 or self.peak_lr <= 0:
            raise InputError(
                "Training needs at least 1 epoch, a batch of at least 1 and a positive learning rate. "
                f"Got {self.epochs}, {self.batch} and {self.peak_lr:g}."
            )
        for name, whole in (("sizes", "size"), ("depths", "depth")):
            steps = getattr(self, name)
            if sum(epochs for _, epochs in steps) >= self.epochs or any(n < 1 or epochs < 1 for n, epochs in steps):
                raise InputError(
                    f"The '{name}' of training must leave at least one epoch for the full {whole}, and each needs at "
                    f"least 1 of its unit and 1 epoch. Got {steps} of {self.epochs} epochs."
                )

    def size(self, epoch: int) -> int | None:
        """Pixels of the images in this epoch (from 0), None for the full size."""
        return _at(self.sizes, epoch)

    def depth(self, epoch: int) -> int | None:
        """Blocks of every stage that run in this epoch (from 0), None for all."""
        return _at(self.depths, epoch)


def _at(steps: tuple[tuple[int, int], ...], epoch: int) -> int | None:
    for value, epochs in steps:
        if epoch < epochs:
            return value
        epoch -= epochs
    return None


_CIFAR = Recipe(
    epochs=30, batch=128, peak_lr=0.2, weight_decay=5e-4, shift=4, mirror=True, bf16=True, fp16_file=True
)  # fmt: skip

RECIPES: dict[str, Recipe] = {
    "digits_resnet": Recipe(),
    "resnet20_cifar10": replace(_CIFAR, epochs=97, batch=256, peak_lr=0.3, label_smoothing=0.0),
    "alexnet_cifar10": replace(_CIFAR, epochs=77, batch=256, peak_lr=0.03),
    "googlenet_cifar10": replace(_CIFAR, epochs=13, peak_lr=0.1, sizes=((16, 9),)),
    "resnet18_cifar10": replace(_CIFAR, epochs=10, sizes=((16, 5), (24, 3))),
    "resnet34_cifar10": replace(_CIFAR, epochs=11, sizes=((16, 9), (24, 1)), depths=((1, 5), (2, 2))),
    "resnet50_cifar10": replace(_CIFAR, epochs=29, batch=512, peak_lr=0.4),
}
"""By model, as its card tells. Those with `sizes` were made for two cores of a CPU, the others for a GPU."""


def recipe_of(model: str) -> Recipe:
    """The recipe that weights of this model are made by; one for 32-pixel colour images where none is written down."""
    return RECIPES.get(model, _CIFAR)
