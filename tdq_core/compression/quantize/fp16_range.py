"""What fits in a half: nothing above 65504."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from tdq_core.errors import Refused

FP16_MAX = 65504.0


def require_fp16_range(tensors: Mapping[str, Tensor | np.ndarray]) -> None:
    """Refused where a floating-point tensor has a value that fp16 cannot hold."""
    for name, values in tensors.items():
        tensor = torch.tensor(values) if isinstance(values, np.ndarray) else values
        if tensor.is_floating_point() and tensor.numel() and (largest := tensor.abs().max().item()) > FP16_MAX:
            raise Refused(
                f"The tensor '{name}' reaches {largest:.4g} and fp16 ends at {FP16_MAX:g}: "
                "run this model at fp32 or int8, or decompose it at another rank."
            )
