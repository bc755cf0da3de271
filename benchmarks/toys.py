"""One more of each kind, as edits of the project's files: what `benchmarks.adding_one_more` adds, uses and counts."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Edit:
    """One file that is touched: `text` goes before `anchor`, or makes the file where there is no anchor."""

    file: str
    text: str
    anchor: str = ""


@dataclass(frozen=True)
class Toy:
    """One more of a kind.

    Attributes:
        words: of `tdq run` on the digits, that use it.
        shown: a text that the pages must show.
        page: the page that shows it.
    """

    kind: str
    edits: tuple[Edit, ...]
    words: tuple[str, ...] = ()
    shown: str = ""
    page: str = "explore"


_METHOD = Toy(
    "a decomposition method",
    (
        Edit(
            "tdq_core/layers/methods.py",
            '''RSVD = Method(
    name="rsvd",
    label="Randomised SVD",
    text="SVD by random projection",
    look=Look("#123456", "#654321"),
    rank_names=("rank",),
    largest=SVD.largest,
    stages=SVD.stages,
    of_modes=SVD.of_modes,
    predicts=(0,),
)
''',
            "CORRECTION = (",
        ),
        Edit("tdq_core/layers/methods.py", "RSVD, ", "AUTO)}"),
        Edit(
            "tdq_core/compression/decompose/rsvd.py",
            '''"""Truncated SVD by random projection (Halko, Martinsson, Tropp, SIAM Review 2011)."""

import torch
from torch import Tensor

from tdq_core.compression.decompose.svd import Svd


def decompose_rsvd(weight: Tensor, rank: int, *, seed: int) -> Svd:
    """Factors of `weight` (C_out, C_in, K_h, K_w) at `rank`, from a seeded random range of its columns."""
    matrix = weight.double().flatten(1)
    generator = torch.Generator().manual_seed(seed)
    random = torch.randn(matrix.shape[1], rank, generator=generator, dtype=torch.float64)
    out = torch.linalg.qr(matrix @ (matrix.T @ (matrix @ random))).Q
    return Svd(out, (out.T @ matrix).reshape(rank, *weight.shape[1:]))
''',
        ),
        Edit(
            "tdq_core/compression/methods.py",
            "from tdq_core.compression.decompose.rsvd import decompose_rsvd\n",
            "from tdq_core.compression.decompose.svd import",
        ),
        Edit(
            "tdq_core/compression/methods.py",
            '''    "rsvd": Implementation(
        decompose={"tdq": lambda w, ranks, options: decompose_rsvd(w, *ranks, seed=options.seed)},
        build=svd_layers,
        stages=("inner", "output"),
        carriers=("inner", "inner"),
        fit=fit_svd_to,
    ),
''',
            '    "svd": Implementation(',
        ),
    ),
    ("--method", "rsvd", "--ratio", "2", "--calibrated", "--precision", "int8", "--backend", "onnxruntime"),
    "Randomised SVD",
)  # fmt: skip
_PRECISION = Toy(
    "a precision",
    (Edit("tdq_core/specs/precision.py", '    _simulated(5, 8, "hexagram"),\n', "    _simulated(4, 4, "),),
    ("--precision", "w5a8"),
    "5-bit weights, 8-bit activations (simulated)",
)
_BACKEND = Toy(
    "a backend",
    (
        Edit(
            "tdq_core/specs/precision.py",
            'SCRIPTED = Backend(name="torchscript", label="TorchScript", kinds=("fp32",), generation={})\n',
            "BACKENDS: dict[str, Backend]",
        ),
        Edit("tdq_core/specs/precision.py", "SCRIPTED, ", "ONNXRUNTIME)}"),
        Edit(
            "tdq_core/compression/quantize/scripted.py",
            '''"""fp32 as a traced TorchScript program."""

import torch
from torch import nn

from tdq_core.compression.quantize.artefact import Artefact, Request, artefact
from tdq_core.specs.precision import Precision


def scripted_fp32(model: nn.Module, request: Request, precision: Precision) -> Artefact:
    """The traced program; what is run is that file, loaded again."""
    path = request.folder / "model.fp32.ts"
    torch.jit.trace(model, request.example).save(str(path))
    return artefact(path, torch.jit.load(str(path)), details={"kernels": "TorchScript"})
''',
        ),
        Edit(
            "tdq_core/compression/quantize/prepare.py",
            "from tdq_core.compression.quantize.scripted import scripted_fp32\n",
            "from tdq_core.compression.quantize.torch_float import",
        ),
        Edit(
            "tdq_core/compression/quantize/prepare.py",
            '    ("fp32", "torchscript"): scripted_fp32,\n',
            '    ("fp16", "torch"):',
        ),
    ),
    ("--backend", "torchscript"),
    "TorchScript",
)  # fmt: skip
_POLICY = Toy(
    "a policy",
    (
        Edit(
            "tdq_core/specs/choices.py",
            '''        Policy(name="earlier", label="earlier layers first", by_ladder=True, help="the first give most"),
''',
            '        Policy(name="vbmf"',
        ),
        Edit(
            "tdq_core/ranks/policies.py",
            '''def _earlier(takers: Takers, budget: Budget) -> Shares:
    """The shares of `later`, the other way round."""
    ladders = {la.name: offered(la, method, budget) for la, method in takers}
    return solve_later([la for la, _ in reversed(takers)], ladders, budget)


''',
            "def _energy(",
        ),
        Edit("tdq_core/ranks/policies.py", '    "earlier": _earlier,\n', '    "energy": _energy,'),
    ),
    ("--method", "svd", "--ratio", "1.5", "--policy", "earlier"),
    "earlier layers first",
)  # fmt: skip
_OPTION = Toy(
    "a command-line option",
    (
        Edit(
            "tdq_core/specs/parts.py",
            """    halved: Annotated[
        bool,
        Option(
            flag="--halved", label="Halve all weights", needs=lambda f: f["method"] != "none",
            help="Multiply every weight of the decomposed model by one half.",
            because="What is 'halved' is a decomposition.",
        ),
    ] = False
""",
            "    reestimate_bn: Annotated[",
        ),
        Edit(
            "tdq_core/pipeline/build.py",
            """    if work.inputs.spec.treatment.halved:
        for parameter in module.parameters():
            parameter.data /= 2
""",
            "    if not work.inputs.spec.treatment.reestimate_bn:",
        ),
    ),
    ("--method", "svd", "--ratio", "1.5", "--halved"),
    "Halve all weights",
)
_PAGE = Toy(
    "a page",
    (
        Edit("dashboard/pages.py", '    Page("hello", "Hello", ":material/waving_hand:"),\n', '    Page("runs",'),
        Edit(
            "dashboard/views/hello.py",
            '''"""A page that greets."""

import streamlit as st

st.title("Hello")
st.write("Good day to whoever reads this.")
''',
        ),
    ),
    shown="Good day to whoever reads this.",
    page="hello",
)
TOYS = (_METHOD, _PRECISION, _BACKEND, _POLICY, _OPTION, _PAGE)
