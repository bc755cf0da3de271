"""Compress two networks from Python: one that has a name (and images, on the command line), and a module in hand."""

import sys

import torch

import tdq_core as tdq
from tdq_core.system.torchvision_compat import torchvision  # the same as `import torchvision`, on any build of torch

name, where = sys.argv[1:] or ("digits_resnet", "digits")  # or resnet20_cifar10 cifar10-jpeg:FOLDER
net, images = tdq.load(name), tdq.images(where, samples=200)
plan = tdq.plan(net, "tucker2", ratio=2)
print(plan)
small = tdq.compress(net, plan, fit=images.calib)
art = tdq.quantize(small, "int8", backend="onnxruntime", calib=images.calib)
score = tdq.measure(art, images, against=net)
print(f"top-1 {score.top1:.3f}, drop {score.drop:+.4f} [{score.drop_low:.4f}, {score.drop_high:.4f}], {art.bytes} B")

mine = tdq.wrap(torchvision.models.mobilenet_v3_small(num_classes=10), size=64)  # any module; it stays as it is
batches = torch.utils.data.DataLoader(torch.randn(32, 3, 64, 64), batch_size=16)  # any iterable
seen = tdq.images((torch.randn(32, 3, 64, 64), torch.randint(10, (32,))), calib=batches)
less = tdq.compress(mine, tdq.plan(mine, "auto", ratio=1.5), fit=seen.calib)
print(less, tdq.measure(less, seen, against=mine).n, tdq.run(mine, seen, method="svd", ratio=1.5).record.state)
