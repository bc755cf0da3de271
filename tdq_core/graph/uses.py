"""Who takes a layer's output: whether it goes to one batch norm alone."""

from collections import Counter
from collections.abc import Iterable

from torch import Tensor, nn

from tdq_core.graph.norms import with_statistics
from tdq_core.graph.trace import ELSEWHERE, Site, trace


def following_norms(model: nn.Module, names: Iterable[str], example: Tensor) -> dict[str, str]:
    """Module name -> name of the batch norm, with running statistics, that alone takes its output.

    Of a module that is called several times, one norm takes every output; and the norm takes nothing else. The norm's
    channels are the module's. So what multiplies or shifts the module's output may be done in the norm instead, and
    the other way round.

    Args:
        example: (N, C, H, W), passed once; what images decide about the way through the network is not seen.
    """
    names, norms = list(names), with_statistics(model)
    sites = trace(model, [*names, *norms], example).sites
    runs = Counter(site.name for site in sites)
    found = {}
    for name in names:
        own = [site for site in sites if site.name == name]
        sole = {site.takers[0] if len(site.takers) == 1 else ELSEWHERE for site in own}
        if len(sole) == 1 and (norm := sole.pop()) in norms and runs[norm] == runs[name]:
            if all(_same_channels(model.get_submodule(name), site) for site in own):
                found[name] = norm
    return found


def _same_channels(module: nn.Module, site: Site) -> bool:
    """A batch norm's channels are dimension 1; those of what ends in a linear layer are the last one."""
    last = list(module.modules())[-1]
    return not isinstance(last, nn.Linear) or len(site.output) == 2
