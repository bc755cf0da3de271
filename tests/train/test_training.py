"""Training: seeded, taken up after a kill, the best epoch by validation, a card that says what is in the file."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from small_net import NAME

from tdq_core.data.sources import open_images
from tdq_core.errors import InputError
from tdq_core.models.loading import load_model
from tdq_core.models.registry import WEIGHTS_FOLDER, entry
from tdq_core.specs import RANDOM_WEIGHTS, ModelSpec
from tdq_core.system import machine
from tdq_core.system.progress import silent
from tdq_core.training import card, fit
from tdq_core.training.augment import augmented, resized
from tdq_core.training.card import train
from tdq_core.training.recipe import RECIPES, Recipe, recipe_of

SHORT = Recipe(epochs=4)
STEPS = 16  # an epoch: 1,000 images in batches of 64


class Killed(Exception):
    pass


def trained(folder: Path, recipe: Recipe = SHORT, **more: Any) -> dict[str, Any]:
    return train(NAME, "digits", recipe=recipe, folder=folder, **more)


def small_fit(recipe: Recipe) -> fit.Fit:
    digits = (open_images("digits", role=r, samples=None, seed=0, num_classes=10) for r in ("train", "val"))
    return fit.Fit(load_model(ModelSpec(NAME, RANDOM_WEIGHTS)), *digits, recipe, "key", None)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(folder / f"{NAME}.safetensors")


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("straight")
    trained(folder)
    return folder


@pytest.mark.parametrize("at", [5, 16, 39], ids=["within an epoch", "at its end", "later"])
def test_a_killed_run_goes_on_and_ends_with_the_same_bits(at, straight, tmp_path, monkeypatch):
    monkeypatch.setattr(fit, "SECONDS_BETWEEN_STATES", 0.0)
    seen: list[int] = []

    def kill(stage: str, done: int, total: int) -> None:
        seen.append(done)
        if done == at and seen.count(at) == 1:
            raise Killed

    with pytest.raises(Killed):
        trained(tmp_path, state_folder=tmp_path, on_progress=kill)
    assert (tmp_path / f"{NAME}.pt").exists() and not (tmp_path / f"{NAME}.json").exists()
    again = trained(tmp_path, state_folder=tmp_path, on_progress=kill)
    assert seen == [*range(1, at + 1), *range(at, 65)], "only the step that was not kept is done twice"
    assert same(weights(tmp_path), weights(straight))
    assert [e["epoch"] for e in again["history"]] == [1, 2, 3, 4]
    times = [e["seconds"] for e in again["history"]]
    assert times == sorted(times) and 0 < times[-1] <= again["seconds"] + 0.1
    assert not (tmp_path / f"{NAME}.pt").exists(), "a finished run leaves no state"


@pytest.mark.parametrize("content", [b"torn", None], ids=["torn", "of another recipe"])
def test_a_state_that_is_torn_or_anothers_is_not_taken_up(content, straight, tmp_path, monkeypatch):
    monkeypatch.setattr(fit, "SECONDS_BETWEEN_STATES", 0.0)
    if content:
        (tmp_path / f"{NAME}.pt").write_bytes(content)
    else:
        with pytest.raises(Killed):
            trained(tmp_path, Recipe(epochs=4, seed=1), state_folder=tmp_path, on_progress=_die_at_20)
    trained(tmp_path, state_folder=tmp_path)
    assert same(weights(tmp_path), weights(straight))


def _die_at_20(stage: str, done: int, total: int) -> None:
    if done == 20:
        raise Killed


def test_another_seed_gives_other_weights(straight, tmp_path):
    trained(tmp_path, dataclasses.replace(SHORT, seed=1))
    assert not same(weights(tmp_path), weights(straight))


def test_the_weights_are_those_of_the_best_epoch_on_validation(monkeypatch):
    """Whatever the later epochs do: the second of four is said to be the best."""
    rights = iter([3, 60, 10, 59])
    kept: list[dict[str, torch.Tensor]] = []
    judged: list[int] = []

    def judge(predict: Any, images: Any, preprocessing: Any) -> Any:
        judged.append(len(images))
        return torch.arange(len(images)).numpy() < next(rights)

    monkeypatch.setattr(fit, "outcomes", judge)
    run = small_fit(SHORT)
    done = run.run(silent, lambda *_: kept.append({k: v.clone() for k, v in run.module.state_dict().items()}))
    assert same(run.module.state_dict(), kept[1]) and not same(kept[1], kept[3])
    assert judged == [97] * 4, "the validation images judge, and nothing else"
    assert [round(e["val_top1"] * 97) for e in done.history] == [3, 60, 10, 59]


def test_first_epochs_see_smaller_images_and_cannot_be_the_best(tmp_path, monkeypatch):
    shapes = []
    real = fit.resized
    monkeypatch.setattr(
        fit, "resized", lambda images, px: shapes.append(tuple(real(images, px).shape[2:])) or real(images, px)
    )
    told = trained(tmp_path, Recipe(epochs=4, sizes=((4, 1), (6, 2))))
    assert [s[0] for s in shapes[::16]] == [4, 6, 6, 8] and len(shapes) == 64
    assert [e["size"] for e in told["history"]] == [4, 6, 6, None]
    assert [e["val_top1"] is None for e in told["history"]] == [True, True, True, False]


def test_the_card_tells_what_the_file_in_half_precision_does(tmp_path):
    told = trained(tmp_path, Recipe(epochs=8, fp16_file=True))
    stored = weights(tmp_path)
    kinds = {value.ndim > 1: set() for value in stored.values()}
    for value in stored.values():
        kinds[value.ndim > 1].add(value.dtype)
    assert kinds[True] == {torch.float16} and torch.float16 not in kinds[False]
    assert json.loads(json.dumps(told)) == json.loads((tmp_path / f"{NAME}.json").read_text())
    assert (tmp_path / f"{NAME}.safetensors").stat().st_mode & 0o777 == 0o644
    assert told["sha256"] == card.file_sha256(tmp_path / f"{NAME}.safetensors")
    score = told["scores"]["eval"]
    assert (
        score["n"] == 700 and score["split"] == "digits/test" and score["top1_low"] < score["top1"] < score["top1_high"]
    )
    changed = told["storage"]["images_decided_otherwise"]
    assert abs(told["storage"]["top1_as_trained"] - score["top1"]) * 700 <= changed
    assert {"recipe", "history", "seconds", "device", "versions", "cpu", "licence"} <= told.keys()
    assert {"device", "threads", "time", "versions", "cpu"} <= told["scored_on"].keys()


def test_scores_are_of_the_file_and_not_of_what_was_trained(tmp_path, monkeypatch):
    """A storage that breaks the weights shows in the card: without kernels every image gets the same answer."""
    real = safetensors.torch.save

    def broken(state: dict[str, torch.Tensor]) -> bytes:
        return real({k: v if v.ndim < 2 else torch.zeros_like(v) for k, v in state.items()})

    monkeypatch.setattr(safetensors.torch, "save", broken)
    told = trained(tmp_path)
    stored, as_trained = told["scores"]["eval"]["top1"], told["storage"]["top1_as_trained"]
    assert stored == 0.1, "one class of ten equally many"
    assert as_trained > 0.5, "four epochs bring it far above chance"
    assert told["storage"]["images_decided_otherwise"] >= (as_trained - stored) * 700


def test_a_card_of_weights_from_elsewhere_tells_both_machines(straight, tmp_path):
    """Trained on one machine and scored on another: each keeps its own names."""
    path = tmp_path / f"{NAME}.safetensors"
    path.write_bytes((straight / path.name).read_bytes())
    loaded = load_model(ModelSpec(NAME, RANDOM_WEIGHTS))
    judged = {r: open_images("digits", role=r, samples=None, seed=0, num_classes=10) for r in card.JUDGED}
    trained = {"recipe": {"epochs": 4}, "device": "a GPU", "cpu": "another", "seconds": 9.0}
    told = card.write_card(path, card.right_of_file(path, loaded, judged), judged, "tdq train", trained)
    assert told == json.loads((tmp_path / f"{NAME}.json").read_text())
    assert told["scores"] == json.loads((straight / f"{NAME}.json").read_text())["scores"]
    assert {name: told[name] for name in trained} == trained
    assert told["scored_on"]["device"] == "cpu" and told["scored_on"]["cpu"] == machine.describe()["cpu"]


def test_products_are_in_bfloat16_and_learn():
    """Every step computes in bfloat16; weights and judgement stay in float32."""
    run = small_fit(Recipe(epochs=4, bf16=True))
    kinds = set()
    run.module.register_forward_hook(lambda net, _, logits: kinds.add((net.training, logits.dtype)))
    done = run.run(silent, lambda *_: None)
    assert kinds == {(True, torch.bfloat16), (False, torch.float32)}
    assert {value.dtype for value in run.module.parameters()} == {torch.float32}
    assert done.history[-1]["val_top1"] > 0.5, "four epochs bring it far above chance"


@pytest.mark.parametrize(
    "wrong, words",
    [
        ({"epochs": 0}, "at least 1 epoch"),
        ({"batch": 0}, "a batch of at least 1"),
        ({"peak_lr": 0.0}, "positive learning rate"),
        ({"epochs": 5, "sizes": ((16, 5),)}, "at least one epoch for the full size"),
        ({"epochs": 5, "sizes": ((0, 1),)}, "at least 1 of its unit"),
        ({"epochs": 5, "sizes": ((16, 0),)}, "1 epoch"),
    ],
)
def test_a_recipe_that_cannot_be_is_one_sentence(wrong, words):
    with pytest.raises(InputError, match=words):
        Recipe(**wrong)


def test_every_recipe_written_down_is_of_a_registered_model():
    assert all(entry(model) for model in RECIPES)
    assert recipe_of("googlenet_cifar10").mirror and not recipe_of("digits_resnet").mirror


@pytest.mark.parametrize("model", RECIPES)
def test_the_command_of_every_card_asks_for_the_recipe_that_it_tells(model):
    told = json.loads((WEIGHTS_FOLDER / f"{model}.json").read_text())
    data = "digits" if model == "digits_resnet" else "cifar10-jpeg"
    assert told["source"] == f"trained by `tdq train {model} --data {data}`"
    assert Recipe(**{k: lists_to_tuples(v) for k, v in told["recipe"].items()}) == recipe_of(model)


def lists_to_tuples(value: Any) -> Any:
    return tuple(lists_to_tuples(v) for v in value) if isinstance(value, list) else value


def test_shifts_and_mirrors_are_those_of_a_plain_loop():
    recipe, images = Recipe(shift=2, mirror=True), torch.rand(6, 3, 5, 7)
    moved = augmented(images, recipe, torch.Generator().manual_seed(3))
    draw = torch.Generator().manual_seed(3)
    top, left = (torch.randint(0, 5, (6, 1), generator=draw) for _ in range(2))
    flipped = torch.rand(6, generator=draw) < 0.5
    assert 0 < int(flipped.sum()) < 6
    for n in range(6):
        for y in range(5):
            for x in range(7):
                at = 6 - x if flipped[n] else x
                row, column = int(y + top[n, 0] - 2), int(at + left[n, 0] - 2)
                wanted = images[n, :, min(max(row, 0), 4), min(max(column, 0), 6)]
                assert torch.equal(moved[n, :, y, x], wanted)


def test_smaller_images_keep_their_mean_and_their_shape():
    images = torch.rand(2, 3, 48, 72)
    small = resized(images, 16)
    assert small.shape == (2, 3, 16, 24) and resized(images, None) is images
    assert small.mean() == pytest.approx(float(images.mean()), abs=0.01)
    assert small.std() < 0.8 * images.std(), "noise is smoothed, not picked"
