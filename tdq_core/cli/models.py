"""`tdq models` and `tdq layers`: what can be compressed."""

from tdq_core.cli.options import JsonFlag, takes_model
from tdq_core.cli.terminal import complain, progress_bars, say, say_json, say_table
from tdq_core.layers.table import LayerTable, Rest
from tdq_core.models.registry import BRING_YOUR_OWN, MODELS, damaged_cards
from tdq_core.specs import ModelSpec


def models(as_json: JsonFlag = False) -> None:
    """List every model that is known by name, and where its weights come from."""
    entries = list(MODELS.values())
    weights = {e.name: e.usable_weights for e in entries}
    for sentence in damaged_cards():
        complain(sentence)
    if as_json:
        say_json([{"name": e.name, "description": e.description, "num_classes": e.num_classes,
                     "input_size": list(e.preprocessing.input_size), "mean": list(e.preprocessing.mean),
                     "std": list(e.preprocessing.std),
                     "weights": None if not (w := weights[e.name]) else {
                         "source": w.source, "file": w.file, "sha256": w.sha256,
                         "licence": w.licence}} for e in entries])  # fmt: skip
        return
    rows = [
        (e.name, e.description, w.source if (w := weights[e.name]) else "none: train it, or --weights") for e in entries
    ]
    say_table(("model", "what it is", "weights"), rows)
    say("", f"Not among them? {BRING_YOUR_OWN[0].upper()}{BRING_YOUR_OWN[1:]}.")


@takes_model
def layers(model: ModelSpec, seed: int, as_json: JsonFlag = False) -> None:
    """List a model's layers: shapes, costs, and which of them can be decomposed."""
    from tdq_core.api.networks import load

    with progress_bars() as on_progress:
        network = load(
            model.name, weights=model.weights, mean=model.mean, std=model.std, input_size=model.input_size, seed=seed,
            on_progress=on_progress,
        )  # fmt: skip
        table = network.table(spectra=as_json, on_progress=on_progress)
    if as_json:
        say(table.to_json())
        return
    rows = [
        (la.name, la.shape_text, f"{la.params:,}", f"{100 * la.params / table.params:.1f} %", f"{la.macs:,}",
         la.refusal or la.end)
        for la in table.layers
    ]  # fmt: skip
    say_table(("layer", "shape", "params", "share", "MACs", "note"), rows, right=("params", "share", "MACs"))
    if table.rest:
        say("", "Outside of these layers:")
        say_table(("part", "how many", "params", "note"), _rest_rows(table), right=("how many", "params"))
    say("", f"{table.model}: {table.params:,} params and {table.macs:,} MACs in all.")
    say(*network.model.notes, *table.notes)


def _rest_rows(table: LayerTable) -> list[tuple[str, str, str, str]]:
    """What else has params: norms by their kind, whatever is rarer by its name."""
    by_kind: dict[tuple[str, str], list[Rest]] = {}
    for part in table.rest:
        by_kind.setdefault((part.kind, part.why), []).append(part)
    return [
        (kind if len(parts) > 3 else ", ".join(p.name or "the model itself" for p in parts) + f" ({kind})",
         str(len(parts)), f"{sum(p.params for p in parts):,}", why)
        for (kind, why), parts in by_kind.items()
    ]  # fmt: skip
