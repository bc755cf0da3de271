"""k x 1 and then 1 x k: the best of its rank, in the weights and on images, and the same layer again from its file."""

import itertools

import pytest
import torch
from torch import Tensor, nn

from tdq_core.compression.calibrate.moments import Moments, moments
from tdq_core.compression.calibrate.spatial import fit_spatial
from tdq_core.compression.decompose.factors import Options
from tdq_core.compression.decompose.modules import factorize
from tdq_core.compression.decompose.spatial import decompose_spatial, unfolded
from tdq_core.compression.decompose.stored import stored_layers
from tdq_core.compression.methods import IMPLEMENTATIONS
from tdq_core.errors import InputError
from tdq_core.graph.layer_table import count_macs, read_layers
from tdq_core.layers.methods import method
from tdq_core.specs import RankRule, RunSpec


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kernel", [(3, 3), (1, 5), (5, 1), (3, 2)])
@pytest.mark.parametrize("rank", [1, 4, 6])
def test_no_other_pair_of_its_rank_is_nearer(kernel: tuple[int, int], rank: int) -> None:
    weight = normal(7, 6, *kernel).double()
    matrix = torch.stack([weight[o, :, :, w].flatten() for o in range(7) for w in range(kernel[1])])
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    made = decompose_spatial(weight, rank)
    best = left[:, :rank] * values[:rank] @ right[:rank]
    assert torch.allclose(unfolded(made.to_weight()), best, atol=1e-9)
    assert made.down.shape == (rank, 6, kernel[0]) and made.across.shape == (7, rank, kernel[1])


def test_a_rank_beyond_its_matrix_is_refused() -> None:
    with pytest.raises(InputError, match="spatial"):
        decompose_spatial(normal(2, 3, 3, 3), 7)


def seen(kernel: tuple[int, int], *, seed: int) -> tuple[Moments, Tensor]:
    """Patches of a smooth picture: neighbouring columns look alike."""
    weight = normal(6, 4, *kernel, seed=seed)
    picture = torch.nn.functional.avg_pool2d(normal(20, 4, 14, 14, seed=seed + 1), 3, 1)
    rows = torch.nn.functional.unfold(picture, kernel).transpose(1, 2).flatten(0, 1)
    return moments(rows, rows @ weight.flatten(1).T, weight), weight


@pytest.mark.parametrize("rank", [1, 2, 5])
@pytest.mark.parametrize("seed", range(3))
def test_a_sweep_never_raises_the_error_and_the_end_beats_the_weights(rank: int, seed: int) -> None:
    made, weight = seen((3, 3), seed=seed)
    factors, errors = fit_spatial(made, rank, tol=-1.0, sweeps=6)
    assert all(after <= before + 1e-9 for before, after in itertools.pairwise(errors))
    assert made.error(factors.to_weight()) == pytest.approx(errors[-1], abs=1e-6)
    assert errors[-1] < made.error(decompose_spatial(weight, rank).to_weight())
    left = factors.across.permute(0, 2, 1).flatten(0, 1)
    assert torch.allclose(left.T @ left, torch.eye(rank).double(), atol=1e-9)


@pytest.mark.parametrize("rank", [1, 3, 6])
def test_of_a_kernel_one_tap_wide_the_fit_is_the_optimum(rank: int) -> None:
    made, _ = seen((3, 1), seed=4)
    factors, errors = fit_spatial(made, rank)
    values, vectors = torch.linalg.eigh(made.inputs)
    root = vectors * values.sqrt() @ vectors.T
    left, found, right = torch.linalg.svd(made.best @ root)
    best = left[:, :rank] * found[:rank] @ right[:rank] @ torch.linalg.inv(root)
    assert len(errors) == 1
    assert made.missed(factors.to_weight().flatten(1)) == pytest.approx(made.missed(best), rel=1e-6)


def test_columns_that_do_not_correlate_need_no_sweep() -> None:
    """The whitened SVD is the optimum there: descent finds nothing better."""
    weight = normal(6, 4, 3, 3)
    rows = torch.cat([normal(60_000, 36, seed=1)])
    made = moments(rows, rows @ weight.flatten(1).T, weight)
    _, errors = fit_spatial(made, 4, tol=-1.0, sweeps=8)
    assert errors[0] - errors[-1] < 2e-3


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
@pytest.mark.parametrize("kernel, stride, padding, dilation, bias", [
    ((3, 3), (2, 1), (1, 2), 1, True), ((3, 1), (1, 2), (1, 1), 1, True), ((1, 3), 2, 1, (1, 2), False),
    ((5, 3), 1, "same", 1, True), ((3, 5), 3, 0, 2, False),
])  # fmt: skip
def test_from_its_weights_alone_it_is_the_same_layer(
    name: str, kernel: tuple[int, int], stride: object, padding: object, dilation: object, bias: bool
) -> None:
    conv = nn.Conv2d(5, 6, kernel, stride, padding, dilation, bias=bias).eval()  # type: ignore[arg-type]
    made = factorize(conv, name, (3,) * len(method(name).rank_names)).module
    again = stored_layers(conv, {stage: made.get_submodule(stage).weight for stage in IMPLEMENTATIONS[name].stages})
    again.load_state_dict(made.state_dict())
    images = normal(2, 5, 16, 19)
    assert torch.equal(again(images), made(images))
    assert count_macs(again, images) == count_macs(made, images)


def test_groups_are_factorised_side_by_side() -> None:
    conv = nn.Conv2d(8, 12, 3, (2, 1), (1, 0), groups=2)
    made = factorize(conv, "spatial", (4,), options=Options())
    x = normal(2, 8, 11, 9)
    reference = nn.functional.conv2d(x, made.factors.to_weight().float(), conv.bias, (2, 1), (1, 0), groups=2)
    assert torch.allclose(made.module(x), reference, atol=1e-5)
    layer = read_layers(nn.Sequential(conv), x, name="one", digest="").layers[0]
    planned = method("spatial").all_weights(layer, (4,))
    assert sum(planned) == sum(m.weight.numel() for m in made.module)  # type: ignore[misc, union-attr]


def test_a_solver_that_has_no_such_method_is_refused_before_any_work() -> None:
    with pytest.raises(InputError, match="Another 'solver' decomposes weights, by a method that it has"):
        RunSpec.of("digits_resnet", "digits", method="spatial", rule=RankRule("ratio", 2.0), solver="tensorly")
