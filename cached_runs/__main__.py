"""`python -m cached_runs [MODEL ...]`: the runs of these models, or of all, where they are missing."""

import sys

from cached_runs.counting import write_costs
from cached_runs.pages import write_pages
from cached_runs.rebuild import MODELS, rebuild
from cached_runs.recipes import rewrite_recipes
from tdq_core.cli.terminal import progress_bars, tell
from tdq_core.records.store import RunStore, shipped_folder


def main(models: list[str]) -> int:
    if unknown := [m for m in models if m not in MODELS]:
        tell(f"The models with shipped runs are {', '.join(MODELS)}. Got '{unknown[0]}'.")
        return 2
    with progress_bars() as on_progress:
        write_costs(shipped_folder())
        for model in models or MODELS:
            rebuild(model, shipped_folder(), on_progress)
    rewrite_recipes(shipped_folder())
    write_pages(shipped_folder().parent)
    tell(f"{sum(1 for _ in RunStore(shipped_folder()).paths())} runs are in '{shipped_folder().name}'.")
    return 0


sys.exit(main(sys.argv[1:]))
