"""One colour for a method and one symbol for a precision, the same on every view.

Methods are named as `tdq_core.table.method_text` names them. The hues are those of Okabe and Ito (2008),
told apart with every common colour vision; symbols differ in shape too.
"""

METHOD_COLOURS = {
    "none": "#8a8a8a",
    "tucker2": "#0072b2",
    "cp": "#e69f00",
    "cp + epc": "#56b4e9",
    "svd": "#009e73",
    "auto": "#cc79a7",
}
METHOD_LABELS = {
    "none": "dense",
    "tucker2": "Tucker-2",
    "cp": "CP",
    "cp + epc": "CP + EPC",
    "svd": "SVD",
    "auto": "auto",
}
PRECISION_SYMBOLS = {"fp32": "circle", "fp16": "square", "int8": "diamond"}
PRECISION_LABELS = {"fp32": "FP32", "fp16": "FP16", "int8": "INT8"}
BACKEND_LABELS = {"torch": "PyTorch", "onnxruntime": "ONNX Runtime"}
ACCENT = "#ea580c"
GREY = "#8a8a8a"
