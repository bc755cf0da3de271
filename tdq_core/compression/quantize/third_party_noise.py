"""The one place where third-party noise is filtered, each filter with its reason."""

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator

WARNINGS: tuple[tuple[type[Warning], str], ...] = (
    # torch's exporters still call a pytree function that torch itself deprecated
    (FutureWarning, r"`isinstance\(treespec, LeafSpec\)` is deprecated"),
    # importing torchao's x86 quantizer imports torch's own mkldnn helpers, which are scripted
    (DeprecationWarning, r"`torch\.jit\.script_method` is deprecated"),
    # the legacy exporter says that it is legacy; it is used only when the maintained one gave a wrong graph
    (DeprecationWarning, r"You are using the legacy TorchScript-based ONNX export"),
    # legacy exporter: it calls a function of its own that it deprecated
    (DeprecationWarning, r"The feature will be removed\. Please remove usage of this function"),
    # legacy exporter: a slice with a step is left in the graph as it is
    (UserWarning, r"Constant folding - Only steps=1 can be constant folded"),
)

LOGGERS = (
    "torchao",  # CUDA kernels that a CPU build cannot load
    "torch.utils._pytree",  # torchao registers an enum in a way that torch deprecated
    "torch.onnx",  # advice on opset versions
    "onnxscript",  # the optimiser's account of what it skipped
)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Within it the known harmless warnings are not shown, and what third parties print goes to stderr."""
    before = {name: logging.getLogger(name).level for name in LOGGERS}
    with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
        for category, message in WARNINGS:
            warnings.filterwarnings("ignore", message=message, category=category)
        for name in LOGGERS:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            yield
        finally:
            for name, level in before.items():
                logging.getLogger(name).setLevel(level)
