"""Does an exponential moving average of the weights pay in the recipes of `tdq train`?

    python -m benchmarks.ema --model resnet20_cifar10 --data cifar10-jpeg:FOLDER --epochs 10

One training, watched by averages of several decays that change nothing in it: their top-1 on the validation images
stands beside that of the weights themselves after every epoch at the full size. Test images are not looked at.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from tdq_core.cli.terminal import progress_bars
from tdq_core.data.sources import open_images
from tdq_core.models.loading import load_model
from tdq_core.pipeline.evaluate import outcomes
from tdq_core.specs import RANDOM_WEIGHTS, ModelSpec
from tdq_core.stats.intervals import paired_mean
from tdq_core.training.fit import Fit
from tdq_core.training.recipe import recipe_of

DECAYS = (0.99, 0.998, 0.9995)
"""What an average keeps of itself at each step."""


def main(arguments: Sequence[str] = ()) -> None:
    options = _options(arguments)
    recipe = recipe_of(options.model)
    if options.epochs:
        share = options.epochs / recipe.epochs
        sizes, depths = (
            tuple((value, max(1, int(epochs * share))) for value, epochs in steps)
            for steps in (recipe.sizes, recipe.depths)
        )
        recipe = replace(recipe, epochs=options.epochs, sizes=sizes, depths=depths)
    loaded = load_model(ModelSpec(options.model, RANDOM_WEIGHTS), seed=recipe.seed)
    train, val = (
        open_images(options.data, role=role, samples=None, seed=recipe.seed, num_classes=loaded.num_classes)
        for role in ("train", "val")
    )
    fit = Fit(loaded, train, val, recipe, key="", path=None)
    averages = {d: AveragedModel(fit.module, multi_avg_fn=get_ema_multi_avg_fn(d), use_buffers=True) for d in DECAYS}
    fit.optimizer.register_step_post_hook(lambda *_: [a.update_parameters(fit.module) for a in averages.values()])

    def judged(module: nn.Module) -> Any:
        def predict(images: Tensor) -> Tensor:
            return module.eval()(images.to(fit.device)).cpu()

        return outcomes(predict, val, fit.preprocessing).astype(float)

    def told(entry: dict[str, Any], left: float) -> None:
        if entry["val_top1"] is None:
            return
        plain, cells = judged(fit.module), []
        for average in averages.values():
            gain, low, high = (100 * g for g in paired_mean(judged(average) - plain))
            cells.append(f"{gain:+.2f} [{low:+.2f}, {high:+.2f}]")
        print(f"| {entry['epoch']} | {100 * plain.mean():.2f} | {' | '.join(cells)} |", flush=True)

    print(
        f"{options.model} on {options.data}, {recipe}; n = {len(val):,} validation images; points gained, 95 %, paired"
    )
    print(f"| epoch | top-1 | {' | '.join(f'EMA {d:g}' for d in DECAYS)} |\n|{'---|' * (2 + len(DECAYS))}", flush=True)
    torch.manual_seed(recipe.seed)  # dropout draws from the process' generator
    with progress_bars() as on_progress:
        fit.run(on_progress, told)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ema", description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="digits_resnet")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--epochs", type=int, help="a shorter schedule, first epochs in proportion")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
