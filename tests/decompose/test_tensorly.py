"""tensorly as the solver, and its objects: as good as ours where they should be, and nothing outside is touched."""

import itertools
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import tensorly
import torch
from safetensors.torch import load_file
from tensorly.decomposition import parafac, partial_tucker
from tensorly.tenalg import multi_mode_dot

import tdq_core
from tdq_core.compression.decompose import factors as methods
from tdq_core.compression.decompose import tensorly_solver
from tdq_core.compression.decompose.cp import decompose_cp
from tdq_core.compression.decompose.linalg import rel_error
from tdq_core.compression.decompose.svd import decompose_svd
from tdq_core.compression.decompose.tensorly_solver import METHODS, affordable, parafac_memory
from tdq_core.compression.decompose.tucker2 import decompose_tucker2
from tdq_core.errors import InputError, NotNow, RunFailed

WEIGHTS = Path(tdq_core.__file__).parent / "models" / "weights" / "resnet20_cifar10.safetensors"
REAL = ("layer1.0.conv1", "layer2.0.conv1", "layer2.2.conv1", "layer3.1.conv2", "layer3.2.conv2")
OURS = {
    "tucker2": (decompose_tucker2, (4, 3)),
    "cp": (decompose_cp, (6,)),
    "svd": (decompose_svd, (5,)),
}


def draw(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def theirs(method, weight, ranks, seed=0):
    return METHODS[method](weight, ranks, methods.Options(seed=seed))


def exact(method):
    """A kernel (10, 8, 3, 3) of just the rank of `OURS`."""
    if method == "tucker2":
        return torch.einsum("op,pqhw,iq->oihw", draw(10, 4), draw(4, 3, 3, 3, seed=1), draw(8, 3, seed=2))
    if method == "cp":
        return torch.einsum("or,ir,kr->oik", draw(10, 6), draw(8, 6, seed=1), draw(9, 6, seed=2)).reshape(10, 8, 3, 3)
    return torch.einsum("or,rihw->oihw", draw(10, 5), draw(5, 8, 3, 3, seed=1))


@pytest.fixture(scope="module")
def resnet20():
    if not WEIGHTS.is_file():
        pytest.skip("needs the weights of ResNet-20 that come with the package")
    return load_file(WEIGHTS)


@pytest.mark.parametrize("method", METHODS)
def test_a_kernel_of_just_this_rank_is_recovered(method):
    weight = exact(method)
    assert rel_error(weight, theirs(method, weight, OURS[method][1]).to_weight()) < 1e-3
    assert rel_error(weight, theirs(method, weight, tuple(r - 1 for r in OURS[method][1])).to_weight()) > 0.05


@pytest.mark.parametrize("ranks", [(3, 2), (6, 6), (10, 2), (10, 1), (1, 8)])
def test_our_tucker2_of_random_kernels_is_as_good_in_as_many_sweeps(ranks):
    for seed in range(5):
        weight = draw(10, 8, 3, 3, seed=seed)
        ours = decompose_tucker2(weight, *ranks, sweeps=8, tol=-1.0)
        other = tensorly_solver.decompose_tucker2(weight, *ranks, sweeps=8, tol=0.0)
        assert rel_error(weight, ours.to_weight()) == pytest.approx(rel_error(weight, other.to_weight()), rel=1e-6)


@pytest.mark.parametrize("name", REAL)
def test_on_trained_kernels_our_tucker2_is_as_good_and_our_cp_is_near(name, resnet20):
    weight = resnet20[f"{name}.weight"]
    ranks = (round(0.6 * weight.shape[0]), round(0.6 * weight.shape[1]))
    ours, other = decompose_tucker2(weight, *ranks), theirs("tucker2", weight, ranks)
    assert rel_error(weight, ours.to_weight()) <= rel_error(weight, other.to_weight()) * (1 + 1e-6)
    rank = (max(weight.shape[:2]) * 3 // 2,)
    cp, other_cp = decompose_cp(weight, *rank), theirs("cp", weight, rank)
    assert 0.8 < rel_error(weight, cp.to_weight()) / rel_error(weight, other_cp.to_weight()) < 1.15
    svd, other_svd = decompose_svd(weight, ranks[0]), theirs("svd", weight, ranks[:1])
    assert rel_error(weight, svd.to_weight()) == pytest.approx(rel_error(weight, other_svd.to_weight()), rel=1e-9)


def test_it_is_what_tensorly_itself_makes():
    weight = draw(10, 8, 3, 3)
    (core, factors), errors = partial_tucker(weight.numpy(), rank=[4, 3], modes=[0, 1])
    tucker = theirs("tucker2", weight, (4, 3))
    torch.testing.assert_close(tucker.to_weight(), torch.from_numpy(multi_mode_dot(core, factors, modes=[0, 1])))
    assert tucker.errors[1:-1] == pytest.approx([float(e) for e in errors], abs=1e-7)
    made = parafac(weight.flatten(2).numpy(), 6, init="random", random_state=3, n_iter_max=7, tol=1e-6)
    cp = tensorly_solver.decompose_cp(weight, 6, sweeps=7, seed=3)
    torch.testing.assert_close(cp.to_weight().flatten(2), torch.from_numpy(made.to_tensor()))


@pytest.mark.parametrize("method", METHODS)
def test_the_error_it_tells_is_its_error_and_its_parts_are_what_they_are_said_to_be(method):
    weight = draw(10, 8, 3, 3).float()
    made = theirs(method, weight, OURS[method][1])
    assert made.out.dtype == torch.float64
    if method != "cp":
        torch.testing.assert_close(made.out.T @ made.out, torch.eye(made.out.shape[1], dtype=torch.float64))
    else:
        norms = torch.stack([torch.linalg.vector_norm(f, dim=0) for f in (made.out, made.in_, made.spatial)])
        torch.testing.assert_close(norms, norms[:1].expand(3, -1))
    if method != "svd":
        assert made.errors[-1] == pytest.approx(rel_error(weight, made.to_weight()), abs=1e-12)
        assert len(made.errors) > 3 and all(b <= a + 1e-6 for a, b in itertools.pairwise(made.errors))


def test_the_error_before_the_first_sweep_is_that_of_the_hosvd():
    weight = draw(10, 8, 3, 3)
    out, in_ = (torch.linalg.svd(weight.movedim(m, 0).flatten(1)).U[:, :r] for m, r in ((0, 4), (1, 3)))
    hosvd = torch.einsum("op,ap,abhw,bq,iq->oihw", out, out, weight, in_, in_)
    assert theirs("tucker2", weight, (4, 3)).errors[0] == pytest.approx(rel_error(weight, hosvd), abs=1e-9)


def test_converged_is_said_where_the_error_stopped_falling():
    weight = draw(10, 8, 3, 3)
    assert tensorly_solver.decompose_cp(weight, 4, sweeps=500, tol=1e-3).converged
    assert not tensorly_solver.decompose_cp(weight, 4, sweeps=5, tol=1e-9).converged
    assert len(tensorly_solver.decompose_cp(weight, 4, sweeps=5, tol=1e-9).errors) == 5


def test_a_seed_gives_the_same_factors_and_another_one_others():
    weight = draw(10, 8, 3, 3)
    for method in ("tucker2", "svd"):
        first, again = (theirs(method, weight, OURS[method][1]) for _ in range(2))
        assert torch.equal(first.to_weight(), again.to_weight())
    first, again, other = (theirs("cp", weight, (6,), seed=seed) for seed in (3, 3, 4))
    assert torch.equal(first.out, again.out) and not torch.allclose(first.out, other.out)


@pytest.mark.parametrize("backend", ["numpy", "pytorch"])
@pytest.mark.parametrize("local", [True, False])
def test_the_backend_that_tensorly_is_set_to_stays(backend, local):
    seen = []
    before = tensorly.get_backend()
    try:
        tensorly.set_backend(backend, local_threadsafe=local)
        for method in METHODS:
            theirs(method, draw(10, 8, 3, 3), OURS[method][1])
        threads = [threading.Thread(target=lambda: seen.append(tensorly.get_backend())) for _ in range(2)]
        for thread in threads:
            thread.start()
            thread.join()
        assert tensorly.get_backend() == backend
        assert seen == [before if local else backend] * 2
    finally:
        tensorly.set_backend(before)


def test_a_thread_that_set_no_backend_goes_on_following_the_process():
    """Restoring a backend would pin it: the caller's thread would not see the process change its own."""
    seen = []

    def work():
        theirs("svd", draw(10, 8, 3, 3), (5,))
        ready.set()
        assert changed.wait(60)
        seen.append(tensorly.get_backend())

    ready, changed = threading.Event(), threading.Event()
    thread = threading.Thread(target=work)
    thread.start()
    assert ready.wait(60)
    try:
        tensorly.set_backend("pytorch")
        changed.set()
        thread.join()
    finally:
        tensorly.set_backend("numpy")
    assert seen == ["pytorch"]


def test_tensorly_is_imported_by_the_first_call_only():
    code = (
        "import sys, torch, tdq_core.pipeline.run, tdq_core.compression.decompose.tensorly_solver as solver\n"
        "print('tensorly' in sys.modules)\n"
        "solver.decompose_svd(torch.ones(3, 3, 1, 1), 1)\n"
        "print('tensorly' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


def test_without_tensorly_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorly", None)
    with pytest.raises(InputError, match="`pip install tensorly`, or use the solver 'tdq'"):
        tensorly_solver.decompose_svd(draw(4, 4, 1, 1), 2)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("method", METHODS)
def test_a_kernel_that_is_not_finite_is_refused_as_by_ours(method, value):
    weight = draw(10, 8, 3, 3)
    weight[1, 2, 0, 0] = value
    ours, ranks = OURS[method]
    with pytest.raises(InputError) as mine:
        ours(weight, *ranks)
    with pytest.raises(InputError) as other:
        theirs(method, weight, ranks)
    assert str(mine.value) == str(other.value)


@pytest.mark.parametrize(
    ("method", "ranks", "sentence"),
    [
        ("tucker2", (11, 3), r"in \[1, 10\] and in \[1, 8\]. Got \[11, 3\]"),
        ("tucker2", (3, 0), r"Got \[3, 0\]"),
        ("cp", (73,), r"The cp rank of a kernel of 10 x 8 x 3 x 3 must be in \[1, 72\]. Got 73"),
        ("svd", (11,), r"must be in \[1, 10\]. Got 11"),
    ],
)
def test_ranks_that_there_are_not_are_refused(method, ranks, sentence):
    with pytest.raises(InputError, match=sentence):
        theirs(method, draw(10, 8, 3, 3), ranks)


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e30])
def test_hostile_kernels_give_finite_factors(scale):
    weight = draw(10, 8, 3, 3) * scale
    for method in METHODS:
        made = theirs(method, weight, OURS[method][1])
        assert rel_error(weight, made.to_weight()) < 1
        assert all(error == error for error in getattr(made, "errors", ()))


@pytest.mark.parametrize("ranks", [(10, 1), (1, 8), (10, 8)])
def test_more_rank_than_the_other_mode_feeds_is_completed_to_a_basis(ranks):
    weight = draw(10, 8, 1, 3)
    made = theirs("tucker2", weight, ranks)
    for factor, rank in zip((made.out, made.in_), ranks, strict=True):
        torch.testing.assert_close(factor.T @ factor, torch.eye(rank, dtype=torch.float64))
    assert made.core.shape == (*ranks, 1, 3)
    assert made.errors[-1] == pytest.approx(rel_error(weight, made.to_weight()), abs=1e-9)


def test_a_system_that_cannot_be_solved_is_told_with_the_way_out(monkeypatch):
    def singular(*_):
        return torch.linalg.solve(torch.zeros(2, 2), torch.ones(2, 1))

    monkeypatch.setattr(tensorly_solver, "_parafac", singular)
    with pytest.raises(RunFailed, match=r"parafac could not solve .* of 10 x 8 x 3 x 3: choose a lower rank or"):
        theirs("cp", draw(10, 8, 3, 3), (6,))


def test_memory_and_sweeps_are_known_before_the_start(monkeypatch):
    assert 4.5e9 < parafac_memory((512, 512, 9), 1069) < 5e9  # the Khatri-Rao product of 2.2 GB, twice
    assert (affordable((512, 512, 9), 1069, 500), affordable((64, 64, 9), 134, 500)) == (10, 500)
    monkeypatch.setattr(tensorly_solver, "free_memory", lambda: 10**3)
    for method in METHODS:
        with pytest.raises(NotNow, match=r"10 x 8 x 3 x 3 needs 0\.0 GB and 0\.0 GB are free"):
            theirs(method, draw(10, 8, 3, 3), OURS[method][1])
