"""A short form of `benchmarks.architectures`: small networks of torchvision, as a person would bring them.

MNASNet asks for versions when its weights are put back; SqueezeNet has no batch norms and a convolution for a
classifier; ShuffleNet splits and shuffles channels, and its depthwise layers are nobody's to decompose.
"""

import pytest

from benchmarks.architectures import STEPS, tried

TRIED = {
    "torchvision:mnasnet0_5": ["fp16 torch", "ratio"],
    "torchvision:squeezenet1_1": ["calibrated", "int8 onnx", "int8 torch"],
    "torchvision:shufflenet_v2_x0_5": ["w4a8", "fp16 onnx"],
}


@pytest.mark.parametrize("name", TRIED)
def test_every_param_is_listed_and_every_step_completes(name):
    found = tried(name, TRIED[name])
    assert found["table"] == "complete"
    assert {step: found[step] for step in TRIED[name]} == dict.fromkeys(TRIED[name], "complete")


def test_all_steps_are_tried_by_one_or_the_other():
    assert {step for steps in TRIED.values() for step in steps} == set(STEPS)
