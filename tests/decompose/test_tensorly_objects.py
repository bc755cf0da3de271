"""Factors as tensorly's objects: the same kernel there, and the same factors when they come back."""

import pytest
import tensorly
import torch
from tensorly.cp_tensor import CPTensor
from tensorly.decomposition import parafac, partial_tucker, tucker
from tensorly.tenalg import multi_mode_dot
from tensorly.tucker_tensor import TuckerTensor

from tdq_core.compression.decompose.cp import decompose_cp
from tdq_core.compression.decompose.linalg import rel_error
from tdq_core.compression.decompose.svd import decompose_svd
from tdq_core.compression.decompose.tensorly_objects import as_tensorly, from_tensorly
from tdq_core.compression.decompose.tucker2 import decompose_tucker2
from tdq_core.errors import InputError


def kernel(o=10, i=8, h=3, w=5):
    return torch.randn(o, i, h, w, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


MADE = {
    "tucker2": decompose_tucker2(kernel(), 4, 3),
    "cp": decompose_cp(kernel(), 6, sweeps=20),
    "svd": decompose_svd(kernel(), 5),
}


@pytest.fixture(params=["numpy", "pytorch"])
def backend(request):
    before = tensorly.get_backend()
    tensorly.set_backend(request.param)
    yield request.param
    tensorly.set_backend(before)


def parts(factors):
    return [part for part in vars(factors).values() if isinstance(part, torch.Tensor)]


@pytest.mark.parametrize("method", MADE)
def test_tensorlys_kernel_is_ours(method, backend):
    made = as_tensorly(MADE[method])
    there = tensorly.dot(*made) if method == "svd" else made.to_tensor()
    assert isinstance(there, torch.Tensor) == (backend == "pytorch")
    torch.testing.assert_close(torch.as_tensor(there).reshape(kernel().shape), MADE[method].to_weight())


def test_they_are_the_objects_of_the_field():
    tucker2, cp = as_tensorly(MADE["tucker2"]), as_tensorly(MADE["cp"])
    assert isinstance(tucker2, TuckerTensor) and (tucker2.shape, tucker2.rank) == ((10, 8, 3, 5), (4, 3, 3, 5))
    partial = multi_mode_dot(tucker2.core, tucker2.factors[:2], modes=[0, 1])
    torch.testing.assert_close(torch.from_numpy(partial), MADE["tucker2"].to_weight())
    assert isinstance(cp, CPTensor) and (cp.shape, cp.rank) == ((10, 8, 15), 6) and (cp.weights == 1).all()
    out, inner = as_tensorly(MADE["svd"])
    assert (out.shape, inner.shape) == ((10, 5), (5, 8 * 15))


@pytest.mark.parametrize("method", MADE)
def test_there_and_back_gives_the_same_factors(method, backend):
    again = from_tensorly(as_tensorly(MADE[method]), kernel())
    assert type(again) is type(MADE[method])
    for part, same in zip(parts(MADE[method]), parts(again), strict=True):
        torch.testing.assert_close(part, same)
    if method != "svd":
        assert again.errors == (pytest.approx(rel_error(kernel(), MADE[method].to_weight()), abs=1e-12),)


def test_what_users_have_made_with_tensorly_is_read(backend):
    weight = kernel()
    given = tensorly.tensor(weight.numpy())
    pair = partial_tucker(given, rank=[4, 3], modes=[0, 1])[0]
    whole = tucker(given, rank=[4, 3, 2, 3])
    four = parafac(given, 6, init="random", random_state=0, n_iter_max=5, normalize_factors=True)
    three = parafac(tensorly.reshape(given, (10, 8, 15)), 6, init="random", random_state=0, n_iter_max=5)
    for made, dense in (
        (pair, multi_mode_dot(*pair, modes=[0, 1])),
        (whole, whole.to_tensor()),
        (four, four.to_tensor()),
        (three, three.to_tensor()),
    ):
        ours = from_tensorly(made, weight, errors=(0.9,), converged=True)
        torch.testing.assert_close(ours.to_weight(), torch.as_tensor(dense).reshape(weight.shape))
        assert ours.errors == (0.9, pytest.approx(rel_error(weight, ours.to_weight())))
        assert getattr(ours, "converged", True)


def test_factors_that_are_not_orthonormal_are_made_so():
    weight = kernel()
    (core, (out, in_)), _ = partial_tucker(weight.numpy(), rank=[4, 3], modes=[0, 1])
    made = from_tensorly((core / 6, [out * 2, in_ * 3]), weight)
    dense = torch.from_numpy(multi_mode_dot(core, [out, in_], modes=[0, 1]))
    torch.testing.assert_close(made.to_weight(), dense)
    pair = from_tensorly((made.out * 2, torch.ones(4, 8 * 15, dtype=torch.float64)), weight)
    for factor in (made.out, made.in_, pair.out):
        torch.testing.assert_close(factor.T @ factor, torch.eye(factor.shape[1], dtype=torch.float64))


@pytest.mark.parametrize("method", MADE)
def test_another_kernel_is_refused(method):
    for other in (kernel(9), kernel(i=7), kernel(h=5, w=5)):
        with pytest.raises(InputError, match="give the kernel that they were made of"):
            from_tensorly(as_tensorly(MADE[method]), other)
    four = parafac(kernel().numpy(), 3, init="random", random_state=0, n_iter_max=2)
    with pytest.raises(InputError, match="10 x 8 x 3 x 5, the kernel is 10 x 8 x 5 x 3"):
        from_tensorly(four, kernel(h=5, w=3))


@pytest.mark.parametrize("made", [None, kernel(), (kernel(),), "factors"])
def test_what_holds_no_factors_is_refused(made):
    with pytest.raises(InputError, match="Factors are read from a TuckerTensor, a CPTensor, a pair"):
        from_tensorly(made, kernel())
