"""Orthogonal mixing of the inner channels of a Tucker-2 layer, within each group: large ones and small become alike."""

import torch
from torch import Tensor

from tdq_core.compression.condition.chain import Chain


def can_mix(chain: Chain) -> bool:
    """Only channels that all flow into the same outputs may be mixed; a depthwise stage keeps them apart."""
    return not any(chain.depthwise)


def mixed(chain: Chain, seed: int) -> Chain:
    """The same function with every inner activation turned by a seeded orthogonal matrix."""
    generator = torch.Generator().manual_seed(seed)
    return Chain.side_by_side([_turned(group, generator) for group in chain.of_groups])


def _turned(chain: Chain, generator: torch.Generator) -> Chain:
    stages = list(chain.stages)
    for j in range(len(stages) - 1):
        turn = _orthogonal(len(stages[j]), generator)
        stages[j] = torch.einsum("sr,rck->sck", turn, stages[j])
        stages[j + 1] = torch.einsum("osk,rs->ork", stages[j + 1], turn)
    return Chain(tuple(stages), chain.gain)


def _orthogonal(size: int, generator: torch.Generator) -> Tensor:
    """(size, size), uniform over the orthogonal matrices."""
    q, r = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))
    return q * r.diagonal().sign()
