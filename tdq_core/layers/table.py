"""The layers of a model as plain numbers: what planning and the screen need to know. No torch here."""

import dataclasses
import difflib
import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from tdq_core.errors import InputError
from tdq_core.layers.times import FormTime
from tdq_core.system.reading import Damaged, read_json

TABLE_SCHEMA = 1
BITS = (8, 6, 4, 3)
"""Of a weight, where they are chosen layer by layer."""
MOST = 2**53
"""Of what is counted, so that its ratios are numbers."""


@dataclass(frozen=True)
class Change:
    """How far the answers of the network move when one layer takes one form: what the policy `predicted` adds up.

    Attributes:
        method: of the decomposition; 'none' where the layer stays dense.
        errors: expected errors (`tdq_core.ranks.expected`) at which it was measured, ascending; changes: there, each at
            least as large as the one before. Both are () of the dense layer.
        rounding: what rounding to the planned precision adds in this form.
    """

    method: str
    errors: tuple[float, ...]
    changes: tuple[float, ...]
    rounding: float


@dataclass(frozen=True)
class Layer:
    """One Conv2d or Linear.

    Attributes:
        name: dotted path in the model.
        kind: 'conv' or 'linear'.
        c_out, c_in: output and input channels (features of a Linear).
        kernel: (K_h, K_w); (1, 1) for a Linear.
        in_positions, out_positions: places where the layer is applied for one image, before and after its stride
            (height x width of the input and of the output; tokens of a Linear), summed over its calls.
        bias: whether it has a bias.
        groups: of a grouped convolution, which is so many convolutions side by side, each of C_out / groups x
            C_in / groups channels: all of them take the same ranks.
        refusal: why it can never be decomposed (depthwise, ...), or None.
        end: 'first' for the first convolution, 'classifier' for the last Linear, '' otherwise.
        spectrum_out: squared singular values of the weight unfolded to C_out x (C_in K_h K_w), largest first.
        spectrum_in: the same for C_in x (C_out K_h K_w). Both are () for a refused layer; of a grouped convolution they
            are those of one group, summed over the groups: beyond rank r lies what that rank loses in all of them.
        also: other names under which it is reached.
        calls: how often it runs in one pass; 0 where functions compute with its weight instead.
        rounding: relative squared error of its weight, or of its outputs where the spectra are those of outputs, on the
            grids of `BITS`, rounded to the nearest point; () where nobody has asked for it.
        rounding_fed: the same of outputs, rounded with error feedback.
        between_positions: places at the output's height and the input's width, summed over its calls; None: the
            geometric mean of the two others, as wherever height and width are treated alike.
        changes: a row for each form in which it was measured; () where nobody has asked for them.
        times: the same of those in which it was timed.
    """

    name: str
    kind: str
    c_out: int
    c_in: int
    kernel: tuple[int, int]
    in_positions: int
    out_positions: int
    bias: bool
    groups: int = 1
    refusal: str | None = None
    end: str = ""
    spectrum_out: tuple[float, ...] = ()
    spectrum_in: tuple[float, ...] = ()
    also: tuple[str, ...] = ()
    calls: int = 1
    rounding: tuple[float, ...] = ()
    rounding_fed: tuple[float, ...] = ()
    between_positions: int | None = None
    changes: tuple[Change, ...] = ()
    times: tuple[FormTime, ...] = ()

    @property
    def between(self) -> int:
        """Places at the output's height and the input's width, summed over its calls."""
        mean = math.isqrt(self.in_positions * self.out_positions)
        return mean if self.between_positions is None else self.between_positions

    @property
    def taps(self) -> int:
        """K_h x K_w."""
        return self.kernel[0] * self.kernel[1]

    @property
    def params(self) -> int:
        return self.c_out * self.c_in // self.groups * self.taps + self.c_out * self.bias

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image; adding the bias is not counted."""
        return self.c_out * self.c_in // self.groups * self.taps * self.out_positions

    @property
    def shape_text(self) -> str:
        """For people: '64→128 3x3', '128→128 3x3, 32 groups' or '512→10 linear'."""
        if self.kind == "linear":
            return f"{self.c_in}→{self.c_out} linear"
        groups = f", {self.groups} groups" if self.groups > 1 else ""
        return f"{self.c_in}→{self.c_out} {self.kernel[0]}x{self.kernel[1]}{groups}"

    @cached_property
    def worked_out(self) -> dict[Any, Any]:
        """What follows from the layer alone and takes long, by whoever has worked it out."""
        return {}

    @cached_property
    def one_group(self) -> "Layer":
        """One of its groups as a layer of its own; itself where it has one."""
        if self.groups == 1:
            return self
        return dataclasses.replace(self, c_out=self.c_out // self.groups, c_in=self.c_in // self.groups, groups=1)

    def ranks_text(self, ranks: Sequence[int]) -> str:
        """For people: '32 x 16', '3 x 3 a group'."""
        return ranks_text(ranks, self.groups)


def ranks_text(ranks: Sequence[int], groups: int = 1) -> str:
    """See `Layer.ranks_text`; '' of no ranks."""
    return " x ".join(map(str, ranks)) + (" a group" if ranks and groups > 1 else "")


@dataclass(frozen=True)
class Rest:
    """Params outside of all layers: those that one module holds itself.

    Attributes:
        name: of the module ('' is the model), kind: its class.
        why: what is special about it ('no image reaches it'), '' for a part that runs as any other.
    """

    name: str
    kind: str
    params: int
    why: str = ""


@dataclass(frozen=True)
class Stored:
    """A tensor of a file.

    Attributes:
        kind: its type, as safetensors writes it.
        counts: whether an image reaches it: the bytes of others are not those of the model.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    bytes: int
    counts: bool = True


@dataclass(frozen=True)
class Files:
    """What files of a model hold that does not depend on ranks and bits.

    Attributes:
        fp32: bytes of the fp32 file of the model as it is.
        packed: by layer whose weight a packed file holds as integers, whether it has a bias there, its own or that of
            the batch norm that is folded into it.
        others: what else a packed file holds; unreached: of the layers that no image reaches, and that it packs like
            any other, the weight's shape and the numbers of the bias.
        tied: layers whose weight is another one's too, and that one, by name: their numbers cannot differ.
    """

    fp32: int
    packed: dict[str, bool]
    others: tuple[Stored, ...]
    unreached: dict[str, tuple[tuple[int, ...], int]] = field(default_factory=dict)
    tied: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class LayerTable:
    """All Conv2d and Linear layers of one model, in the order in which an image meets them.

    Attributes:
        model: the model's name.
        digest: the identity of model and weights that the spectra were computed from.
        params, macs: of the whole model, other layers included.
        notes: what was not counted.
        rest: what else has params, in the model's own order; () in tables from before it was written down.
        files: None where nobody has asked for them; dense_ns: nanoseconds of a call of the whole, the same.
    """

    model: str
    digest: str
    params: int
    macs: int
    layers: tuple[Layer, ...]
    notes: tuple[str, ...] = ()
    rest: tuple[Rest, ...] = ()
    files: Files | None = None
    dense_ns: int | None = None

    @cached_property
    def _by_name(self) -> dict[str, Layer]:
        return {layer.name: layer for layer in self.layers}

    def layer(self, name: str) -> Layer:
        if layer := self._by_name.get(name):
            return layer
        raise InputError(f"The model '{self.model}' has no layer '{name}'; {self.near(name)}.")

    def has(self, name: str) -> bool:
        return name in self._by_name

    def near(self, name: str) -> str:
        """For a sentence about a name that is none of ours: those that resemble it, or the first ones."""
        names = [layer.name for layer in self.layers]
        if near := difflib.get_close_matches(name, names, n=3):
            return f"near are {', '.join(near)}"
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        return f"its layers are {', '.join(names[:5])}{more}"

    def to_json(self) -> str:
        return json.dumps({"schema": TABLE_SCHEMA, **dataclasses.asdict(self)}, allow_nan=False)

    @classmethod
    def read(cls, path: Path) -> "LayerTable":
        """The inverse of `to_json`, from a file; InputError names the file where it is another or a damaged one."""
        try:
            values = read_json(path)
            if not isinstance(values, dict) or values.pop("schema", None) != TABLE_SCHEMA:
                raise Damaged(f"it is not of schema {TABLE_SCHEMA}")
            return require_sound_table(msgspec.convert(values, cls))
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(
                f"The layer table '{path}' cannot be read ({error}): read the layers anew, or move it away."
            ) from error


def require_sound_table(table: LayerTable) -> LayerTable:
    """`table` as it was read; Damaged where its parts do not fit each other."""
    names = [layer.name for layer in table.layers]
    if len(set(names)) != len(names):
        raise Damaged("a layer is there twice")
    if not (0 < table.params <= MOST and 0 <= table.macs <= MOST):
        raise Damaged("its params and MACs are no sizes of a model")
    for layer in table.layers:
        if reason := _what_is_wrong(layer):
            raise Damaged(f"{reason} of its layer '{layer.name}'")
    if files := table.files:
        sizes = [files.fp32, *(n for each in files.others for n in (each.bytes, *each.shape))]
        if files.fp32 < 1 or not all(0 <= size <= MOST for size in sizes):
            raise Damaged("the sizes of its files are none")
    return table


def _what_is_wrong(layer: Layer) -> str | None:
    whole = (layer.c_out, layer.c_in, *layer.kernel, layer.groups)
    if not all(1 <= size <= MOST for size in whole) or layer.c_out % layer.groups or layer.c_in % layer.groups:
        return "the channels, the kernel or the groups are none"
    if not all(0 <= size <= MOST for size in (layer.in_positions, layer.out_positions, layer.between, layer.calls)):
        return "the positions or calls are none"
    if layer.kind not in ("conv", "linear") or layer.end not in ("", "first", "classifier"):
        return "the kind or the end is none"
    for errors in (layer.rounding, layer.rounding_fed):
        if len(errors) not in (0, len(BITS)) or any(error < 0 for error in errors):
            return "the errors of rounding are none"
    if layer.changes or layer.times:
        return "the changes or times, which no file keeps, are there"
    if bool(layer.spectrum_out) != bool(layer.spectrum_in):
        return "one of the two spectra is missing"
    one = layer.one_group
    for spectrum, sides in (
        (layer.spectrum_out, (one.c_out, one.c_in * one.taps)),
        (layer.spectrum_in, (one.c_in, one.c_out * one.taps)),
    ):
        if len(spectrum) not in (0, min(sides)) or any(value < 0 for value in spectrum):
            return "a spectrum is none"
        if any(later > before for before, later in itertools.pairwise(spectrum)):
            return "a spectrum does not fall"
    return None
