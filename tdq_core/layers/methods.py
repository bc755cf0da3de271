"""The decomposition methods as torch-free descriptions: names, ranks, costs, limits, refusals, labels.

A new method is a row here, and its row in `tdq_core.compression.methods`. Costs, plans, the command
line, the page's choices, labels, colours and tables follow.

Shapes (`weight` is (C_out, C_in, K_h, K_w), taps = K_h K_w):
    tucker2  ranks (r_out, r_in): 1x1 C_in -> r_in, K_h x K_w r_in -> r_out, 1x1 r_out -> C_out
    cp       ranks (r,):          1x1 C_in -> r, depthwise K_h x K_w on r channels, 1x1 r -> C_out
    svd      ranks (r,):          K_h x K_w C_in -> r, 1x1 r -> C_out  (two plain layers where the kernel is 1x1)
    spatial  ranks (r,):          K_h x 1 C_in -> r, 1 x K_w r -> C_out

A grouped convolution is so many convolutions side by side. Each takes the same ranks, and the sub-layers of all of them
make grouped sub-layers: a method describes what it does to one layer without groups, and no more.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from tdq_core.layers.table import Layer

Ranks = tuple[int, ...]
Modes = tuple[int, int]
"""Ranks of the output mode (C_out x C_in K) and of the input mode (C_in x C_out K) of a weight."""


class Stage(NamedTuple):
    """A sub-layer of a factorised layer without groups, of ints or of arrays that broadcast.

    Attributes:
        name: in files.
        out: output channels; seen: input channels that each of them sees.
        kernel: whether it has the layer's kernel, and so its stride, down and across; where not, it is 1 wide.
    """

    name: str
    out: Any
    seen: Any
    kernel: tuple[bool, bool] = (False, False)

    def size(self, layer: Layer) -> tuple[int, int]:
        """(K_h, K_w) in the place of `layer`."""
        down, across = self.kernel
        return layer.kernel[0] if down else 1, layer.kernel[1] if across else 1

    def numbers(self, layer: Layer) -> Any:
        """Of its weights."""
        return self.out * self.seen * math.prod(self.size(layer))


WHOLE = (True, True)


class Weights(NamedTuple):
    """Weights of a factorised layer's sub-layers, of ints or of arrays that broadcast: `before` at the resolution of
    the input, `between` at the output's height and the input's width, the others at the resolution of the output."""

    before: Any
    middle: Any
    after: Any
    between: Any = 0


def refused_groups(c_in: int, groups: int) -> str | None:
    """Why a convolution of so many input channels and groups cannot be decomposed by any method, or None."""
    if 1 < groups == c_in:
        return (
            f"it is a depthwise convolution: each of its {groups} groups sees one channel, so there are none to merge"
        )
    return None


class Look(NamedTuple):
    """How runs are drawn: the colour where factors are fitted to weights, and where they are fitted to outputs."""

    plain: str
    fitted: str


@dataclass(frozen=True, kw_only=True)
class Method:
    """One way to factorise a layer.

    Attributes:
        name: in specs, records and commands; label: for people; text: a few words for help texts.
        look: colours, near the hues of Okabe and Ito (2008): seen on a light and a dark page, and told apart with every
            common colour vision within the plain and within the fitted ones, which have other signs.
        rank_names: one a rank, in the order of `Ranks`.
        largest: of a layer without groups, the largest ranks that still mean something: above them nothing more can be
            represented.
        stages: of a layer without groups, its sub-layers at given ranks, by arithmetic alone.
        of_modes: ranks from those of a layer's two modes.
        predicts: the modes (0: out, 1: in) whose lost energy predicts its error; () where no spectrum does.
        kernels_only: whether it needs a kernel larger than 1x1.
        generation: raised when its factors change: an older run is not taken for one of today.
        solvers: whose implementations there are, see `tdq_core.specs.choices.SOLVERS`.
    """

    name: str
    label: str
    text: str
    look: Look
    rank_names: tuple[str, ...]
    largest: Callable[[Layer], Ranks]
    stages: Callable[[Layer, Any], tuple[Stage, ...]]
    of_modes: Callable[[Modes], Ranks]
    predicts: tuple[int, ...] = ()
    kernels_only: bool = False
    generation: int = 1
    solvers: tuple[str, ...] = ("tdq", "tensorly")

    def max_ranks(self, layer: Layer) -> Ranks:
        """The largest ranks of each group of `layer`."""
        return self.largest(layer.one_group)

    def all_stages(self, layer: Layer, ranks: Any) -> list[Stage]:
        """The sub-layers of `layer`, those of all its groups in one, each group at `ranks`."""
        return [stage._replace(out=layer.groups * stage.out) for stage in self.stages(layer.one_group, ranks)]

    def all_weights(self, layer: Layer, ranks: Any) -> Weights:
        """Numbers of weights of all groups of `layer`, each at `ranks`."""
        found = {"before": 0, "between": 0, "middle": 0, "after": 0}
        down = across = False
        for stage in self.all_stages(layer, ranks):
            down, across = down or stage.kernel[0], across or stage.kernel[1]
            done = "after" if not any(stage.kernel) else "middle"
            where = done if down and across else "between" if down else "before"
            found[where] = found[where] + stage.numbers(layer)
        return Weights(**found)

    def names_of_ranks(self, layer: Layer) -> tuple[str, ...]:
        """For people: 'rank out', or 'rank out (a group)'."""
        return tuple(f"{name} (a group)" if layer.groups > 1 else name for name in self.rank_names)

    def climb(self, layer: Layer) -> list[Ranks]:
        """Ranks from the smallest to the largest; several ranks rise together, in proportion up to rounding."""
        top = self.max_ranks(layer)
        steps = max(top)
        return [tuple(-(-n * t // steps) for t in top) for n in range(1, steps + 1)]

    def refusal(self, layer: Layer) -> str | None:
        """Why it cannot or should not be applied to `layer`, or None."""
        if layer.refusal:
            return layer.refusal
        if self.kernels_only and layer.taps == 1:
            what = "Linear layer" if layer.kind == "linear" else "1x1 convolution"
            return f"a {what} is a matrix, which svd factorises with fewer params than {self.name}: use svd or auto"
        return None


@dataclass(frozen=True, kw_only=True)
class Chooser:
    """A method that takes another one layer by layer.

    Attributes:
        choose: which one.
        among: where a plan chooses instead, with ranks, by what each loses for what it costs: from these.
    """

    name: str
    label: str
    text: str
    look: Look
    choose: Callable[[Layer], str]
    among: tuple[str, ...] = ()
    kernels_only: bool = False
    generation: int = 1
    solvers: tuple[str, ...] = ("tdq", "tensorly")


TUCKER2 = Method(
    name="tucker2",
    label="Tucker-2",
    text="Tucker-2",
    look=Look("#0065c6", "#826ada"),
    rank_names=("rank out", "rank in"),
    largest=lambda la: (min(la.c_out, la.c_in * la.taps), min(la.c_in, la.c_out * la.taps)),
    stages=lambda la, r: (
        Stage("input", r[1], la.c_in), Stage("core", r[0], r[1], WHOLE), Stage("output", la.c_out, r[0]),
    ),
    of_modes=lambda modes: modes,
    predicts=(0, 1),
    kernels_only=True,
)  # fmt: skip
CP = Method(
    name="cp",
    label="CP",
    text="CP",
    look=Look("#c38708", "#aa4c00"),
    rank_names=("rank",),
    largest=lambda la: (min(la.c_out * la.c_in, la.c_out * la.taps, la.c_in * la.taps),),
    stages=lambda la, r: (
        Stage("input", r[0], la.c_in), Stage("depthwise", r[0], 1, WHOLE), Stage("output", la.c_out, r[0]),
    ),
    of_modes=lambda modes: (max(modes),),  # a CP rank is at least every mode's
    kernels_only=True,
    generation=2,
)  # fmt: skip
SVD = Method(
    name="svd",
    label="SVD",
    text="SVD",
    look=Look("#00a46c", "#5fa30b"),
    rank_names=("rank",),
    largest=lambda la: (min(la.c_out, la.c_in * la.taps),),
    stages=lambda la, r: (Stage("inner", r[0], la.c_in, WHOLE), Stage("output", la.c_out, r[0])),
    of_modes=lambda modes: modes[:1],
    predicts=(0,),
)
SPATIAL = Method(
    name="spatial",
    label="Spatial",
    text="spatial (k x 1, then 1 x k)",
    look=Look("#c02647", "#427694"),
    rank_names=("rank",),
    largest=lambda la: (min(la.c_out * la.kernel[1], la.c_in * la.kernel[0]),),
    stages=lambda la, r: (
        Stage("vertical", r[0], la.c_in, (True, False)), Stage("horizontal", la.c_out, r[0], (False, True)),
    ),
    of_modes=lambda modes: (max(modes),),  # no spectrum of a channel mode is its own: enough for either of them
    kernels_only=True,
    solvers=("tdq",),
)  # fmt: skip
AUTO = Chooser(
    name="auto",
    label="auto",
    text="auto (tucker2 for k x k kernels, svd for 1x1 and Linear)",
    look=Look("#a57eaf", "#8a6253"),
    choose=lambda layer: "tucker2" if layer.taps > 1 else "svd",
)

MIXED = Chooser(
    name="mixed",
    label="mixed",
    text="mixed (the one that loses least, layer by layer)",
    look=Look("#7b667d", "#8f9299"),
    choose=AUTO.choose,
    among=("tucker2", "svd", "spatial"),
    solvers=("tdq",),
)

CORRECTION = ("cp",)
"""Methods whose components may cancel each other, so that the error-preserving correction (EPC) goes with them."""
CORRECTED_LOOK = Look("#1f89fe", "#ff3972")

METHODS: dict[str, Method | Chooser] = {m.name: m for m in (TUCKER2, CP, SVD, SPATIAL, AUTO, MIXED)}
"""What a run can ask for, in the order in which it is shown."""


def method(name: str) -> Method:
    """The description of a method that factorises layers itself."""
    found = METHODS[name]
    assert isinstance(found, Method), "asked for of a layer's own method"
    return found


def chooses_forms(name: str) -> bool:
    """Whether it takes for each layer the form that loses least, which only some policies find."""
    asked = METHODS.get(name)
    return isinstance(asked, Chooser) and bool(asked.among)


def method_for(layer: Layer, name: str) -> Method:
    """The method that `layer` takes where a run asks for `name`."""
    asked = METHODS[name]
    return method(asked.choose(layer)) if isinstance(asked, Chooser) else asked
