"""How PT2E is told to quantize."""

from typing import TYPE_CHECKING

import torch

from tdq_core.compression.quantize.scheme import Scheme

if TYPE_CHECKING:
    from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import X86InductorQuantizer


def quantizer(scheme: Scheme) -> "X86InductorQuantizer":
    """The x86 quantizer of torchao with the numbers that ONNX Runtime uses, so that the backends can be compared.

    Weights: scale = max|w| / 127 per output channel or per tensor (/ 64 when reduced; 255 * 64 * 2 then fits in 16
    bits).
    Activations: min-max. The default of torchao differs in three ways that would show as differences between the
    backends: it never lets a scale fall below 2^-12 (too coarse for small factors), it takes activation ranges from
    histograms (which depend on the batches), and its reduced range narrows the activations in place of the weights.
    """
    # imported late: torchao takes a second, and says at import which CUDA kernels a CPU build lacks
    from torchao.quantization.pt2e.observer import MinMaxObserver, PerChannelMinMaxObserver
    from torchao.quantization.pt2e.quantizer import QuantizationSpec
    from torchao.quantization.pt2e.quantizer.utils import QuantizationConfig
    from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import X86InductorQuantizer

    per_channel = scheme.granularity == "channel"
    activation = QuantizationSpec(
        dtype=torch.uint8,
        quant_min=0,
        quant_max=255,
        qscheme=torch.per_tensor_affine,
        observer_or_fake_quant_ctr=MinMaxObserver,
    )
    weight = QuantizationSpec(
        dtype=torch.int8,
        quant_min=-scheme.weight_limit,
        quant_max=scheme.weight_limit,
        qscheme=torch.per_channel_symmetric if per_channel else torch.per_tensor_symmetric,
        ch_axis=0 if per_channel else None,
        observer_or_fake_quant_ctr=PerChannelMinMaxObserver if per_channel else MinMaxObserver,
    )
    return X86InductorQuantizer().set_global(QuantizationConfig(activation, activation, weight, None))
