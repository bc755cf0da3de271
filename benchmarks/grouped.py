"""Grouped convolutions: what of ResNeXt and RegNet can be decomposed, and whether a grouped network keeps its accuracy.

    python -m benchmarks.grouped

First, by network (random weights) at ratio 1.5: the shares of the params, and of the MACs, that lie in layers that can
be decomposed, without and with grouped convolutions; those that the plan takes; what the built network is counted at.
Then a small grouped network, trained on the scanned digits, beside its ungrouped twin: the same function, each grouped
kernel written into the blocks of a dense one. At the same ranks a group (the twin's are all groups' together) both lose
about the same, and at full ranks nothing.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn
from torch.nn import functional

import tdq_core as tdq
from tdq_core.api.image_sets import ImagePair
from tdq_core.api.networks import Network
from tdq_core.compression.decompose.modules import apply_plan
from tdq_core.data.images import Images
from tdq_core.data.sources import open_images
from tdq_core.graph.layer_table import count_macs, count_params
from tdq_core.graph.modules import of_kind
from tdq_core.graph.replace import replace
from tdq_core.layers.table import Layer
from tdq_core.pipeline.session import Session
from tdq_core.ranks.plan import make_plan
from tdq_core.records.store import RunStore
from tdq_core.specs import RankRule
from tdq_core.specs.preprocessing import Preprocessing

NETWORKS = ("resnext50_32x4d", "regnet_y_400mf", "regnet_x_800mf")
RATIO, SIZE = 1.5, 64
EPOCHS, BATCH = 12, 64
SHARES = (1.0, 0.75, 0.5)
"""Of the full rank of each group's modes."""
WAYS: Mapping[str, Mapping[str, object]] = {
    "by weights": {},
    "symmetric": {"calibrated": True, "symmetric": True},
    "calibrated": {"calibrated": True},
    "calibrated, INT8 torch": {"calibrated": True, "precision": "int8"},
    "calibrated, INT8 ONNX Runtime": {"calibrated": True, "precision": "int8", "backend": "onnxruntime"},
    "INT8 ONNX Runtime": {"precision": "int8", "backend": "onnxruntime"},
}


class GroupedNet(nn.Module):
    """Stem, two 3x3 convolutions of four and eight groups with 1x1 ones between, average, linear head."""

    def __init__(self) -> None:
        super().__init__()
        wide = [nn.Conv2d(1, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU()]
        first = [nn.Conv2d(32, 32, 3, padding=1, groups=4, bias=False), nn.BatchNorm2d(32), nn.ReLU()]
        between = [nn.Conv2d(32, 64, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
        second = [nn.Conv2d(64, 64, 3, stride=2, padding=1, groups=8, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
        self.body = nn.Sequential(*wide, *first, *between, *second, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1, 8, 8) -> logits (N, 10)."""
        return self.head(self.body(x))


def main() -> None:
    decomposable()
    twins()


def decomposable() -> None:
    """The table of what can be decomposed."""
    heads = ("network", "params", "grouped layers", "of params: without", "with", "planned", "of MACs: without", "with",
             "built: smaller, fewer MACs")  # fmt: skip
    print(f"auto at ratio {RATIO:g}, ends dense; shares in layers that can be decomposed\n")
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for name in NETWORKS:
        network = tdq.load(f"torchvision.models:{name}", weights="random", input_size=(SIZE, SIZE))
        table = network.table()
        plan = make_plan(table, "auto", RankRule("ratio", RATIO))
        built, _ = apply_plan(network.module, plan)
        params, macs = count_params(built), count_macs(built, torch.zeros(2, 3, SIZE, SIZE))
        assert (params, macs) == (plan.params, plan.macs)
        able = [layer for layer in table.layers if layer.refusal is None]
        plain = [layer for layer in able if layer.groups == 1]
        taken = [part.layer for part in plan.decomposed()]
        cells = [f"{table.params:,}", str(sum(layer.groups > 1 for layer in able))]
        cells += [f"{_params(some) / table.params:.1%}" for some in (plain, able, taken)]
        cells += [f"{sum(layer.macs for layer in some) / table.macs:.1%}" for some in (plain, able)]
        print(f"| {name} | {' | '.join(cells)} | {table.params / params:.2f}x, {table.macs / macs:.2f}x |", flush=True)


def _params(layers: list[Layer]) -> int:
    return sum(layer.params for layer in layers)


def twins() -> None:
    """The table of what a grouped network and its ungrouped twin lose."""
    module = trained(GroupedNet, open_images("digits", role="train", samples=None, seed=0, num_classes=10))
    networks = [tdq.wrap(m, size=8, mean=(0.5,), std=(0.5,)) for m in (module, ungrouped(module))]
    images = tdq.images("digits", calib="digits")
    dense = [tdq.measure(network, images).top1 for network in networks]
    sizes = [f"{top1:.2%} ({network.params:,} params)" for top1, network in zip(dense, networks, strict=True)]
    print(f"\nScanned digits, {len(images.eval)} test images: grouped {sizes[0]}, its ungrouped twin {sizes[1]}")
    print("Top-1 lost, in points: grouped / twin\n")
    print(f"| method, share of a group's full rank | {' | '.join(WAYS)} |\n|{'---|' * (1 + len(WAYS))}")
    with TemporaryDirectory() as folder:
        store, session = RunStore(Path(folder)), Session()
        for name, method, rules in rows(networks):
            drops = [[drop(n, images, method, rule, way, store, session) for n, rule in zip(networks, rules,
                      strict=True)] for way in WAYS.values()]  # fmt: skip
            cells = [" / ".join(f"{100 * lost:.2f}" for lost in pair) for pair in drops]
            print(f"| {name} | {' | '.join(cells)} |", flush=True)


def rows(networks: list[Network]) -> Iterator[tuple[str, str, list[RankRule]]]:
    """What each row is called, its method, and the rank rule of each network."""
    for method in ("tucker2", "svd"):
        for share in SHARES:
            yield f"{method}, {share:.0%}", method, [ranks_at(n, networks[0], method, share) for n in networks]
    yield f"auto, each at ratio {RATIO:g}", "auto", [RankRule("ratio", RATIO)] * len(networks)


def ranks_at(network: Network, grouped: Network, method: str, share: float) -> RankRule:
    """The ranks by hand of `network` for this share of those of the groups of `grouped`'s grouped layers."""
    ranks = {}
    for layer in grouped.table().layers:
        if layer.groups > 1:
            own = network.table().layer(layer.name)
            at = [max(1, round(share * size)) for size in (layer.one_group.c_out, layer.one_group.c_in)]
            together = [layer.groups // own.groups * rank for rank in at]
            ranks[layer.name] = tuple(together) if method == "tucker2" else together[0]
    return RankRule("manual", ranks=ranks)


def drop(
    network: Network, images: ImagePair, method: str, rule: RankRule, way: Mapping[str, object], store: RunStore,
    session: Session,
) -> float:  # fmt: skip
    """Share of the images that are lost."""
    record = tdq.run(network, images, store=store, session=session, method=method, rule=rule, **way).record
    if record.state != "complete":
        raise SystemExit(f"{method} {dict(way)}: {record.reason}")
    return record.drop()[0]


def trained(make: Callable[[], nn.Module], train: Images, *, epochs: int = EPOCHS) -> nn.Module:
    """What `make` makes after a short training with Adam under a one-cycle learning rate; seeded."""
    torch.manual_seed(0)
    module = make()
    prepared = Preprocessing(input_size=(8, 8), mean=(0.5,), std=(0.5,))
    x, y = next(iter(train.batches(prepared, batch_size=len(train))))
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-2, weight_decay=1e-4)
    steps = epochs * -(-len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)
    for rows in _rows(len(x), epochs):
        optimizer.zero_grad()
        functional.cross_entropy(module(x[rows]), y[rows]).backward()
        optimizer.step()
        schedule.step()
    return module.eval().requires_grad_(False)


def _rows(count: int, epochs: int) -> Iterator[Tensor]:
    for _ in range(epochs):
        yield from torch.randperm(count).split(BATCH)


def ungrouped(module: nn.Module) -> nn.Module:
    """The same function with each grouped kernel in the blocks of a dense one."""
    convolutions = of_kind(module, nn.Conv2d)
    twins = {name: dense_twin(layer) for name, layer in convolutions.items() if layer.groups > 1}
    return replace(copy.deepcopy(module), twins)


def dense_twin(layer: nn.Conv2d) -> nn.Conv2d:
    """A convolution without groups that computes what `layer` computes."""
    twin = nn.Conv2d(layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding,
                     layer.dilation, bias=layer.bias is not None, padding_mode=layer.padding_mode)  # fmt: skip
    blocks = layer.weight.detach().flatten(2).chunk(layer.groups)  # (C_out / groups, C_in / groups, K)
    taps = [torch.block_diag(*(block[:, :, tap] for block in blocks)) for tap in range(blocks[0].shape[2])]
    twin.weight.data = torch.stack(taps, dim=2).reshape(twin.weight.shape)
    if layer.bias is not None and twin.bias is not None:
        twin.bias.data = layer.bias.detach().clone()
    return twin.requires_grad_(False)


if __name__ == "__main__":
    main()
