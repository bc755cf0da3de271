"""What cannot be decomposed is said in one sentence, whatever the method."""

import pytest
import torch

from tdq_core.compression.decompose.cp import decompose_cp
from tdq_core.compression.decompose.svd import decompose_svd
from tdq_core.compression.decompose.tucker2 import decompose_tucker2
from tdq_core.errors import InputError

OURS = {"tucker2": (decompose_tucker2, (3, 2)), "cp": (decompose_cp, (4,)), "svd": (decompose_svd, (3,))}
UNFIT = {
    "tucker2 out": (decompose_tucker2, (7, 2), r"tucker2 ranks \[out, in\] .* in \[1, 6\] and in \[1, 5\]. Got \[7, 2"),
    "tucker2 in": (decompose_tucker2, (2, 6), r"in \[1, 6\] and in \[1, 5\]. Got \[2, 6\]"),
    "tucker2 none": (decompose_tucker2, (2, 0), r"Got \[2, 0\]"),
    "cp none": (decompose_cp, (0,), "The cp rank of a kernel of 6 x 5 x 3 x 3 must be at least 1. Got 0"),
    "svd": (decompose_svd, (7,), r"The svd rank of a kernel of 6 x 5 x 3 x 3 must be in \[1, 6\]. Got 7"),
    "svd none": (decompose_svd, (0,), "Got 0"),
}


def kernel():
    return torch.randn(6, 5, 3, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("method", OURS)
def test_a_kernel_that_is_not_finite_is_refused_by_every_method(method, value):
    decompose, ranks = OURS[method]
    weight = kernel()
    weight[1, 2, 0, 0] = value
    with pytest.raises(InputError, match="1 of its 270 values are NaN or infinite"):
        decompose(weight, *ranks)


@pytest.mark.parametrize("case", UNFIT)
def test_a_rank_that_there_is_not_is_refused(case):
    decompose, ranks, sentence = UNFIT[case]
    with pytest.raises(InputError, match=sentence):
        decompose(kernel(), *ranks)


def test_the_largest_ranks_that_there_are_are_taken():
    weight = kernel()
    for made in (decompose_tucker2(weight, 6, 5), decompose_svd(weight, 6), decompose_cp(weight, 60)):
        torch.testing.assert_close(made.to_weight().float(), weight, rtol=0.1, atol=0.1)
