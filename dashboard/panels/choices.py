"""The controls of a planned run: method, ranks, precision, and what is done between decomposition and integers."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import streamlit as st

from dashboard.shelf.state import DEFAULT_RATIO, RULES, choice, flag, number
from dashboard.words.palette import BACKEND_LABELS, GRANULARITY_LABELS, METHOD_LABELS, PRECISION_CHOICES, RANGE_LABELS
from tdq_core.specs import DEFAULT_ETA, METHODS, SIMULATED

MOST_ETA = 0.2
MOST_DEPTH = 4.0
MOST_STEPS = 100_000
POLICY_LABELS = {
    "uniform": "same share",
    "later": "later layers first",
    "energy": "kept energy",
    "vbmf": "VBMF",
    "global": "least output error",
}
BUDGET_LABELS = {"params": "params", "macs": "MACs"}
MULTIPLE_LABELS = {"1": "any", "4": "multiples of 4", "8": "multiples of 8"}


class Choices(NamedTuple):
    """What the controls say.

    Attributes:
        rule, value, keep_ends: the kind of rank rule, and what it needs.
        sharing: the fields of the rule that say how a ratio is shared out; empty with the other rules.
        settings: the other fields of the spec; one that has no control at the moment is not among them.
    """

    method: str
    rule: str
    value: float | None
    keep_ends: bool
    sharing: dict[str, Any]
    settings: dict[str, Any]


def choose() -> Choices:
    """Rows of controls; each is there only where it has an effect."""
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        method = _one_of("Method", {m: METHOD_LABELS[m] for m in METHODS}, "method", default="tucker2")
        settings = _correction() if method == "cp" else {}
    rule, value, ends = _ranks() if method != "none" else ("ratio", None, True)
    sharing = _sharing() if method != "none" and rule == "ratio" else {}
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        settings |= _precision()
        settings |= _preparation(settings["precision"]) if method != "none" else {}
    return Choices(method, rule, value, ends, sharing, settings)


def has_integers(precision: str) -> bool:
    return precision == "int8" or precision in SIMULATED


def _correction() -> dict[str, Any]:
    epc = st.toggle(
        "EPC",
        help="Error-preserving correction: the smallest components at nearly the same error, so that they survive "
        "integers. The page Components shows what it does.",
        **flag("epc", False),
    )
    if not epc:
        return {}
    eta = st.slider(
        "Error may grow by (eta)",
        0.0,
        MOST_ETA,
        step=0.01,
        width=220,
        help="EPC may raise a layer's relative error to (1 + eta) times that of the CP. More room makes smaller "
        "components, at a price in FP32 accuracy.",
        **number("eta", DEFAULT_ETA, 0.0, MOST_ETA),
    )
    return {"epc": True, "eta": eta}


def _ranks() -> tuple[str, float | None, bool]:
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        rule = _one_of("Ranks by", RULES, "rule", default="ratio", on_change=_rule_changed)
        value = _value(rule)
        ends = st.toggle(
            "Keep first and last layer dense",
            disabled=rule == "manual",
            help="They are small and the most sensitive. By hand, every layer is its own choice.",
            **flag("ends", True),
        )
    return rule, value, ends


def _sharing() -> dict[str, Any]:
    """What a ratio counts, and how it is shared out over the layers."""
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        budget = _one_of("Ratio of", BUDGET_LABELS, "budget", default="params")
        policy = _from_list(
            "Shared out by",
            POLICY_LABELS,
            "policy",
            width=200,
            help="Same share: every layer keeps the same share of what the ratio counts. Later layers first: the "
            "deeper a layer, the more it gives up. Kept energy: every layer keeps the same share of its squared "
            "singular values. VBMF: EVBMF ranks, weakened by one factor. Least output error: the smallest sum of the "
            "layers' errors that their singular values predict; layers may stay dense.",
        )
        sharing = {"policy": policy, "budget": budget}
        if policy == "later":
            sharing["depth"] = st.slider(
                "Depth exponent",
                0.0,
                MOST_DEPTH,
                step=0.25,
                width=200,
                help="A layer at relative depth d gives up d ^ exponent of what the last one does; 0: all the same.",
                **number("depth", 1.0, 0.0, MOST_DEPTH),
            )
        multiple = _one_of("Ranks", MULTIPLE_LABELS, "multiple", default="1")
    return sharing | {"multiple": int(multiple)}


def _precision() -> dict[str, Any]:
    """Precision, backend, and the grid of integers."""
    precision = _from_list(
        "Precision",
        PRECISION_CHOICES,
        "precision",
        width=330,
        help="Simulated: rounded to the grid of these bits, computed in FP32 by PyTorch. Accuracy is that of the bits, "
        "latency is not.",
    )
    simulated = precision in SIMULATED
    backends = {b: name for b, name in BACKEND_LABELS.items() if b == "torch" or not simulated}
    backend = _one_of("Runs on", backends, "backend", default="torch")
    settings = {"precision": precision, "backend": backend}
    if has_integers(precision):
        settings["granularity"] = _from_list("Integer weights", GRANULARITY_LABELS, "granularity", width=240)
    if simulated:
        settings["ranges"] = _from_list(
            "Integer ranges",
            RANGE_LABELS,
            "ranges",
            width=200,
            help="Min-max holds every value; least-error clips outliers where that makes the squared rounding error "
            "smaller.",
        )
    return settings


def _preparation(precision: str) -> dict[str, Any]:
    """How factors are fitted, and what is done to a decomposed model before it is quantized."""
    settings: dict[str, Any] = {
        "calibrated": st.toggle(
            "Calibrated",
            help="Factors are fitted to what each layer computes on unlabelled calibration images instead of to its "
            "weights.",
            **flag("calibrated", False),
        )
    }
    if settings["calibrated"]:
        settings["symmetric"] = st.toggle(
            "Each layer by itself",
            help="Layers are fitted to their inputs in the original network, not to what the compressed layers before "
            "them send: it loses more, but what the images say is kept, and the next ratio is quick.",
            **flag("symmetric", False),
        )
    if has_integers(precision):
        settings["condition"] = st.toggle(
            "Condition before quantization",
            help="Brings the ranges inside decomposed layers into balance, which leaves the float function as it is, "
            "and takes the mean shift of rounding back in biases.",
            **flag("condition", True),
        )
    settings["reestimate_bn"] = st.toggle(
        "Re-estimate batch norms",
        help="Their means and variances are measured anew on the calibration images, without labels.",
        **flag("reestimate_bn", False),
    )
    settings["finetune"] = st.number_input(
        "Fine-tuning steps",
        0,
        MOST_STEPS,
        step=100,
        width=170,
        help="Distillation from the dense model on the unlabelled calibration images; with integers the rounding is "
        "in the loop. 0: none.",
        **number("finetune", 0, 0, MOST_STEPS),
    )
    return settings


def _one_of(
    label: str, labels: Mapping[str, str], key: str, *, default: str, on_change: Callable[[], None] | None = None
) -> str:
    options = tuple(labels)
    return st.segmented_control(
        label,
        options,
        format_func=labels.__getitem__,
        required=True,
        on_change=on_change,
        **choice(key, options, default=default),
    )


def _from_list(label: str, labels: Mapping[str, str], key: str, *, width: int, help: str | None = None) -> str:
    options = list(labels)
    return st.selectbox(label, options, format_func=labels.__getitem__, width=width, help=help, **choice(key, options))


def _value(rule: str) -> float | None:
    if rule == "ratio":
        return st.number_input(
            "Original / compressed",
            1.01,
            1000.0,
            step=0.1,
            format="%.2f",
            width=230,
            help="Of the params or MACs of the whole model: 2 keeps half.",
            **number("ratio", DEFAULT_RATIO, 1.01, 1000.0),
        )
    if rule == "energy":
        return st.slider(
            "Share of squared singular values kept", 0.50, 1.0, step=0.01, width=260, **number("energy", 0.9, 0.5, 1.0)
        )
    if rule == "vbmf":
        return st.slider(
            "Weakening",
            0.05,
            1.0,
            step=0.05,
            width=260,
            **number("vbmf", 1.0, 0.05, 1.0),
            help="rank = full - weakening x (full - EVBMF rank); 1 takes the EVBMF rank.",
        )
    return None


def _rule_changed() -> None:
    """Ranks by hand start from the ranks of the rule that was in force."""
    if st.session_state["rule"] == "manual" and (last := st.session_state.get("planned")):
        st.session_state.setdefault("hand", {})[last[0]] = dict(last[1])
