"""One colour for a method and one symbol for a precision, the same on every view.

Methods are named as `tdq_core.records.table.method_text` names them. The hues are those of Okabe and Ito (2008),
told apart with every common colour vision; symbols differ in shape too. A hollow symbol is an integer run of factors
that were not conditioned, a dot in it stands for one scale per weight tensor.
"""

from tdq_core.records.table import method_text
from tdq_core.specs import RunSpec

METHOD_COLOURS = {
    "none": "#8a8a8a",
    "tucker2": "#0072b2",
    "cp": "#e69f00",
    "cp + epc": "#56b4e9",
    "svd": "#009e73",
    "auto": "#cc79a7",
    "tucker2 + calibrated": "#6a51d8",
    "cp + calibrated": "#a8620d",
    "cp + epc + calibrated": "#d6336c",
    "svd + calibrated": "#7f9a00",
    "auto + calibrated": "#8a4b3a",
}
METHOD_LABELS = {
    "none": "dense",
    "tucker2": "Tucker-2",
    "cp": "CP",
    "cp + epc": "CP + EPC",
    "svd": "SVD",
    "auto": "auto",
    "tucker2 + calibrated": "Tucker-2, calibrated",
    "cp + calibrated": "CP, calibrated",
    "cp + epc + calibrated": "CP + EPC, calibrated",
    "svd + calibrated": "SVD, calibrated",
    "auto + calibrated": "auto, calibrated",
}
PRECISION_SYMBOLS = {
    "fp32": "circle",
    "fp16": "square",
    "int8": "diamond",
    "w8": "triangle-up",
    "w6": "triangle-down",
    "w4": "triangle-right",
    "w8a8": "pentagon",
    "w6a6": "hexagon2",
    "w4a8": "star",
    "w4a4": "star-diamond",
}
PRECISION_LABELS = {
    "fp32": "FP32",
    "fp16": "FP16",
    "int8": "INT8",
    "w8": "W8 (simulated)",
    "w6": "W6 (simulated)",
    "w4": "W4 (simulated)",
    "w8a8": "W8A8 (simulated)",
    "w6a6": "W6A6 (simulated)",
    "w4a8": "W4A8 (simulated)",
    "w4a4": "W4A4 (simulated)",
}
PRECISION_CHOICES = {
    "fp32": "FP32",
    "fp16": "FP16",
    "int8": "INT8",
    "w8": "8-bit weights (simulated)",
    "w6": "6-bit weights (simulated)",
    "w4": "4-bit weights (simulated)",
    "w8a8": "8-bit weights, 8-bit activations (simulated)",
    "w6a6": "6-bit weights, 6-bit activations (simulated)",
    "w4a8": "4-bit weights, 8-bit activations (simulated)",
    "w4a4": "4-bit weights, 4-bit activations (simulated)",
}
GRANULARITY_LABELS = {"channel": "one scale per output channel", "tensor": "one scale per weight tensor"}
RANGE_LABELS = {"minmax": "min-max ranges", "mse": "least-error ranges"}
VARIANT_COLOURS = {"als": "#e69f00", "epc": "#56b4e9", "equalised": "#009e73"}
VARIANT_LABELS = {"als": "ALS", "epc": "EPC", "equalised": "EPC, equalised"}
BACKEND_LABELS = {"torch": "PyTorch", "onnxruntime": "ONNX Runtime"}
ACCENT = "#ea580c"
GREY = "#8a8a8a"
WARNING = "#d55e00"


def decomposition(spec: RunSpec) -> str:
    """What a run's colour stands for: how its factors were found, not what was done to the model afterwards."""
    return method_text(spec.changed(symmetric=False, finetune=0, reestimate_bn=False))


def method_label(spec: RunSpec) -> str:
    """'CP + EPC, batch norms re-estimated'."""
    steps = f", fine-tuned {spec.finetune} steps" if spec.finetune else ""
    alone = ", each layer by itself" * spec.symmetric
    return METHOD_LABELS[decomposition(spec)] + alone + steps + ", batch norms re-estimated" * spec.reestimate_bn


def symbol(spec: RunSpec) -> str:
    """The marker of a run: its precision's shape, hollow and dotted as the head of this file says."""
    bare = spec.quantized and spec.method != "none" and not spec.condition
    return PRECISION_SYMBOLS[spec.precision] + "-open" * bare + "-dot" * (spec.granularity == "tensor")
