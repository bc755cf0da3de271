"""What a run's spec is made of: which network, which images, how it is decomposed, what is done to it.

Every field that people can set carries its `Option`: its flag, its help and its control follow from it, and so does how
a run is written as a command and whether the field is part of a run's name. No torch here.
"""

from typing import Annotated

from msgspec import Meta, structs

from tdq_core.errors import InputError
from tdq_core.layers.methods import CORRECTION, METHODS
from tdq_core.specs.choices import EFFORTS, SOLVERS, helps, labels
from tdq_core.specs.option import Option, require_choices
from tdq_core.specs.precision_spec import integer
from tdq_core.specs.preprocessing import require_normalisation, require_size
from tdq_core.specs.rank_rule import RankRule
from tdq_core.specs.value import Count, Steps, Value

RANDOM_WEIGHTS = "random"
DEFAULT_ETA = 0.0
IMAGES = "'digits', 'cifar10[:ROOT]', 'cifar10-jpeg[:ROOT]', 'imagenet:ROOT' or 'folder:DIR'"
"""The grammar of image sources, see `tdq_core.data.refs`."""
Pair = Annotated[int, Meta(ge=2)]


class ModelSpec(Value, frozen=True):
    """Which network, with which weights, and what it sees.

    Attributes:
        name: a registered name, 'path/to/file.py:factory', 'package.module:factory' or 'timm:NAME'.
        weights: None (the registered weights), a file or folder, or 'random' (seeded; for cost and speed studies); see
            `tdq_core.models.weights_file`.
        mean, std: of each input channel; input_size: (height, width) in pixels. They override what is known of the
            model, and are needed for one that says nothing of its inputs.
    """

    name: Annotated[
        str,
        Option(
            flag="--model", key="model", named=False,
            help="A name from `tdq models`, path/to/file.py:factory, package.module:factory or timm:NAME.",
        ),
    ]  # fmt: skip
    weights: Annotated[
        str | None,
        Option(
            flag="--weights", named=False, shorthand=("--weights-random", RANDOM_WEIGHTS),
            help="A file or folder with weights, of torch, safetensors, the Hugging Face hub or --export (code in it "
            "never runs); FILE::NAME takes one of several sets, as FILE::state_dict_ema.",
            shorthand_help="Seeded random weights: for cost and speed studies.",
        ),
    ] = None  # fmt: skip
    mean: Annotated[
        tuple[float, ...] | None,
        Option(flag="--mean", named=False, help="Mean of each channel in [0, 1], as 0.5,0.5,0.5 (own models)."),
    ] = None
    std: Annotated[
        tuple[float, ...] | None,
        Option(flag="--std", named=False, help="Standard deviation of each channel, as 0.25,0.25,0.25 (own models)."),
    ] = None
    input_size: Annotated[
        tuple[int, int] | None,
        Option(flag="--input-size", named=False, help="What the model sees, in pixels: 224 or 224x160 (own models)."),
    ] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require_normalisation(self.mean, self.std)
        require_size(self.input_size or (1, 1))


class ImageSpec(Value, frozen=True):
    """Which images are looked at.

    Attributes:
        data: what is evaluated on, see `IMAGES`.
        calib: what is calibrated on, in the same grammar; None: the data's own calibration split.
        samples: size of the seeded class-balanced subset that is evaluated; None: all images.
        calib_samples: at most this many calibration images.
    """

    data: Annotated[str, Option(flag="--data", named=False, help=f"Images: {IMAGES}.")]
    calib: Annotated[
        str | None, Option(flag="--calib", named=False, help="Calibration images, in the same grammar.")
    ] = None
    samples: Annotated[
        Pair | None,
        Option(flag="--samples", named=False, help="Evaluate a class-balanced subset of this many images."),
    ] = None
    calib_samples: Annotated[
        Count, Option(flag="--calib-samples", named=False, help="At most this many calibration images.")
    ] = 512

    def elsewhere(self, data: str) -> "ImageSpec":
        """The same images in another place."""
        return structs.replace(self, data=data)


class Decomposition(Value, frozen=True):
    """How layers are factorised.

    Attributes:
        method: see `tdq_core.layers.methods`.
        rule: how ranks are chosen.
        epc: correct CP's components at (nearly) the same error, see `tdq_core.compression.decompose.epc`.
        eta: the correction may raise a layer's error to (1 + eta) times that of the CP it starts from.
        epc_optimum: solve the correction to its optimum, see `tdq_core.compression.decompose.epc_optimum`.
        effort: of CP, how long it is looked for, see `tdq_core.specs.choices.EFFORTS`.
        calibrated: fit the factors to what each layer computes on the unlabelled calibration images, see
            `tdq_core.compression.calibrate`; otherwise to its weights alone.
        symmetric: the inputs of a calibrated fit are those of the original network, not of the compressed one: it
            loses more, and a second ratio is quick.
        solver: whose implementation finds the factors.
    """

    method: Annotated[
        str,
        Option(
            flag="--method",
            label="Method",
            choices=lambda: ("none", *METHODS),
            help="How layers are factorised; auto takes tucker2 for k x k kernels and svd for 1x1 and Linear, mixed "
            "for each layer the form that loses least.",
            labels=lambda: {"none": "dense"} | {n: m.label for n, m in METHODS.items()},
        ),
    ]
    rule: RankRule
    epc: Annotated[
        bool,
        Option(
            flag="--epc",
            label="EPC",
            help="Correct CP's components at nearly the same error, so that they survive "
            "integers: the error-preserving correction.",
            needs=lambda f: f["method"] in CORRECTION,
            because="The correction 'epc' shrinks components that cancel each other, and only CP has such components.",
        ),
    ] = False
    eta: Annotated[
        Annotated[float, Meta(ge=0, lt=1)],
        Option(
            flag="--eta",
            label="Error may grow by (eta)",
            help="EPC may raise a layer's error to (1 + ETA) times.",
            needs=lambda f: bool(f["epc"]),
            because="The 'eta' belongs to the correction 'epc'.",
        ),
    ] = DEFAULT_ETA
    epc_optimum: Annotated[
        bool,
        Option(
            flag="--epc-optimum",
            label="EPC to its optimum",
            help="Solve EPC to its optimum: the same error with smaller components still, in more time.",
            needs=lambda f: bool(f["epc"]),
            because="The 'epc_optimum' belongs to the correction 'epc'.",
        ),
    ] = False
    effort: Annotated[
        str,
        Option(
            flag="--effort", label="Effort", choices=lambda: EFFORTS, labels=lambda: labels(EFFORTS),
            helps=lambda: helps(EFFORTS),
            needs=lambda f: f["method"] in CORRECTION and f["solver"] == "tdq",
            help="How long CP is looked for: random starts, and sweeps from them.",
            because="An 'effort' is that of CP's own search, which has random starts and turns.",
        ),
    ] = "usual"  # fmt: skip
    calibrated: Annotated[
        bool,
        Option(
            flag="--calibrated",
            label="Calibrated",
            needs=lambda f: f["method"] != "none",
            help="Fit factors to layers' outputs on the unlabelled calibration images, instead of to weights.",
            because="What is 'calibrated' is a decomposition.",
        ),
    ] = False
    symmetric: Annotated[
        bool,
        Option(
            flag="--symmetric",
            label="Each layer by itself",
            needs=lambda f: bool(f["calibrated"]),
            help="Calibrated: each layer by itself; loses more, a second ratio is quick.",
            because="What is 'symmetric' is a fit that is 'calibrated'.",
        ),
    ] = False
    solver: Annotated[
        str,
        Option(
            flag="--solver", label="Solver", choices=lambda: SOLVERS, labels=lambda: labels(SOLVERS),
            helps=lambda: helps(SOLVERS),
            needs=lambda f: f["method"] in METHODS and len(METHODS[f["method"]].solvers) > 1
            and not f["epc"] and not f["calibrated"],
            help="Whose implementation finds the factors: tdq, or tensorly as the study used it.",
            because="Another 'solver' decomposes weights, by a method that it has, without 'epc' and 'calibrated'.",
        ),
    ] = "tdq"  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choices(self)
        if self.method == "none":
            raise InputError("A decomposition names a method; a run without one has none.")


class Treatment(Value, frozen=True):
    """What is done to a decomposed model before its numbers are rounded.

    Attributes:
        condition: before int8 and below, bring the ranges of a decomposed layer's factors and inner activations into
            balance and correct its bias, see `tdq_core.compression.condition`; without effect on floats.
        reestimate_bn: re-estimate the batch norms of the decomposed model on the unlabelled calibration images.
        finetune: steps of distillation from the dense model on the unlabelled calibration images, see
            `tdq_core.compression.finetune`; 0: none. Below fp16 the rounding is in the loop.
    """

    condition: Annotated[
        bool,
        Option(
            flag="--no-condition",
            label="Condition before quantization",
            shown=lambda f: f["method"] != "none" and integer(f),
            help="Quantize factors as they are, without balancing their ranges and correcting biases.",
        ),
    ] = True
    reestimate_bn: Annotated[
        bool,
        Option(
            flag="--reestimate-bn",
            label="Re-estimate batch norms",
            needs=lambda f: f["method"] != "none",
            help="Re-estimate batch norms on the calibration images.",
            because="The 'reestimate_bn' works on a decomposition.",
        ),
    ] = False
    finetune: Annotated[
        Steps,
        Option(
            flag="--finetune", label="Fine-tuning steps", needs=lambda f: f["method"] != "none",
            help="Steps of distillation from the dense model on the calibration images.",
            because="The 'finetune' works on a decomposition.",
        ),
    ] = 0  # fmt: skip
