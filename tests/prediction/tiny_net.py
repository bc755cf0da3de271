"""A network that is small enough to measure in a test, as people bring theirs."""

from pathlib import Path

from tdq_core.specs import RankRule, RunSpec

NET = """
import torch
from torch import nn

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
    def forward(self, x):
        return torch.relu_(self.conv2(torch.relu_(self.bn1(self.conv1(x)))) + x)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.first, self.second = nn.Conv2d(1, 8, 3, padding=1), Block(), Block()
        self.head = nn.Linear(8, 10)
    def forward(self, x):
        return self.head(self.second(self.first(torch.relu_(self.stem(x)))).mean((2, 3)))

def make():
    torch.manual_seed(0)
    return Net()
"""


def spec_in(folder: Path, **options: object) -> RunSpec:
    """A run of it on a few digits."""
    file = folder / "net.py"
    file.write_text(NET)
    return RunSpec.of(f"{file}:make", "digits", weights="random", calib_samples=30, samples=30, mean=(0.5,), std=(0.5,),
                      input_size=(8, 8), **options)  # fmt: skip


def decomposed(spec: RunSpec, ratio: float = 1.5, **options: object) -> RunSpec:
    return spec.changed(method="tucker2", rule=RankRule("ratio", ratio), **options)
