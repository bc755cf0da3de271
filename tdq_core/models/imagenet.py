"""torchvision's ImageNet models, without weights: 3x224x224 inputs, 1000 classes.

Their registered weights are torchvision's IMAGENET1K_V1, the baselines of the papers that this project compares with
(ResNet-50 also has V2 weights: pass the file with `--weights`).
"""

from torch import nn

from tdq_core.models.initial import he_initialise
from tdq_core.system.torchvision_compat import torchvision


def resnet18() -> nn.Module:
    """11,689,512 params."""
    return he_initialise(torchvision.models.resnet18(), last_norm="bn2")


def resnet34() -> nn.Module:
    """21,797,672 params."""
    return he_initialise(torchvision.models.resnet34(), last_norm="bn2")


def resnet50() -> nn.Module:
    """25,557,032 params."""
    return he_initialise(torchvision.models.resnet50(), last_norm="bn3")


def googlenet() -> nn.Module:
    """6,624,904 params, without the two auxiliary heads, which serve training only.

    `transform_input` is on, as torchvision sets it for these weights (they were ported from a framework that normalises
    otherwise); it stays on with random weights, so that costs and graph are those of the pretrained model.
    """
    net = torchvision.models.GoogLeNet(aux_logits=False, transform_input=True, init_weights=False)
    return he_initialise(net)


def alexnet() -> nn.Module:
    """61,100,840 params, 58,631,144 of them in the three linear layers."""
    return he_initialise(torchvision.models.alexnet())


def vit_b_16() -> nn.Module:
    """86,567,656 params; its own initialisation, which leaves the classifier at zero, with a drawn classifier."""
    net = torchvision.models.vit_b_16()
    nn.init.normal_(net.heads.head.weight, std=0.02)
    return net
