"""What is done to a network once, when it is opened, so that every part of it has a name and does something."""

from torch import Tensor, nn

from tdq_core.graph.modules import layers
from tdq_core.graph.replace import adopt, drop
from tdq_core.graph.survey import unreached
from tdq_core.graph.trace import trace


def adopted(model: nn.Module) -> tuple[str, ...]:
    """Make parts that only a plain list or dict holds parts of the network, in place; a note where there were any."""
    names = adopt(model)
    if not names:
        return ()
    return (f"Parts that only a plain list or dict holds became parts of the network: {', '.join(names)}.",)


def trimmed(model: nn.Module, example: Tensor) -> tuple[str, ...]:
    """Take the parts out, in place, that no image reaches (auxiliary heads); a note where there were any.

    They are no cost of the network: neither their params nor their bytes are counted anywhere. Should an image reach
    one after all, the run fails with its name.
    """
    gone = unreached(model, trace(model, layers(model), example))
    if not gone:
        return ()
    params = {name: sum(p.numel() for p in model.get_submodule(name).parameters()) for name in gone}
    drop(model, gone)
    told = ", ".join(f"'{name}' ({kind}, {params[name]:,} params)" for name, kind in gone.items())
    return (f"No image reaches {told}: taken out, and counted nowhere.",)
