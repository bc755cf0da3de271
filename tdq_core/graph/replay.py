"""Passing the same images again with a few modules changed: what runs before them is not computed twice."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

Forward = Callable[..., Any]
Way = Callable[[nn.Module, Forward, tuple[Any, ...], dict[str, Any]], Any]


class _Call(NamedTuple):
    """One call of a module in the recorded pass: the number of the first call after it, and the tensor that it gave
    (None: it gave something else)."""

    after: int
    output: Tensor | None


class Replay:
    """A network and images (N, C, H, W) that it has passed once; neither is changed.

    Modules are called in the order that the network's own code gives, and what is called before a module cannot depend
    on it: its output is taken from memory, whole blocks at once.

    Attributes:
        logits: (N, classes), as the network is.
    """

    def __init__(self, model: nn.Module, images: Tensor) -> None:
        self._model, self._images = model, images
        self._calls: dict[tuple[nn.Module, int], _Call] = {}
        self._first: dict[nn.Module, int] = {}
        self._number = 0
        self._last: tuple[Any, Tensor] | None = None
        self.logits = self._passed(self._record)
        self._last = None

    @property
    def bytes(self) -> int:
        """Of the outputs that are held."""
        held = {id(call.output): call.output for call in self._calls.values() if call.output is not None}
        return sum(output.numel() * output.element_size() for output in held.values())

    def changed(self, ways: Mapping[str, Forward]) -> Tensor:
        """(N, classes): the logits when each module named in `ways` computes what is given for it."""
        instead = {self._model.get_submodule(name): way for name, way in ways.items()}
        first = min((self._first.get(module, len(self._calls)) for module in instead), default=len(self._calls))
        within = False

        def play(module: nn.Module, forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            nonlocal within
            if within:  # what is given may itself call modules of the network
                return forward(*args, **kwargs)
            known = self._calls.get((module, self._number))
            if known and known.output is not None and known.after <= first:
                self._number = known.after
                return known.output.clone()  # whatever follows may change it in place
            self._number += 1
            if module not in instead:
                return forward(*args, **kwargs)
            within = True
            try:
                return instead[module](*args, **kwargs)
            finally:
                within = False

        return self._passed(play)

    def _record(self, module: nn.Module, forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        number = self._number
        self._first.setdefault(module, number)
        self._number += 1
        output = forward(*args, **kwargs)
        self._calls[module, number] = _Call(self._number, self._copied(output))
        return output

    def _copied(self, output: Any) -> Tensor | None:
        """A block gives what its last module has given: one copy serves both."""
        if not isinstance(output, Tensor):
            return None
        version = (output.data_ptr(), output._version, output.shape)
        if self._last is None or self._last[0] != version or not torch.equal(self._last[1], output):
            self._last = version, output.clone()
        return self._last[1]

    def _passed(self, way: Way) -> Tensor:
        self._number = 0
        with torch.no_grad(), _forwards_through(self._model, way):
            logits: Tensor = self._model(self._images)
        return logits.clone()


@contextmanager
def _forwards_through(model: nn.Module, way: Way) -> Iterator[None]:
    """Within, every module computes through `way`, which is shown its own forward."""
    own = {module: vars(module).get("forward") for module in model.modules()}
    for module in own:
        vars(module)["forward"] = _through(module, module.forward, way)
    try:
        yield
    finally:
        for module, forward in own.items():
            vars(module).pop("forward")
            if forward is not None:
                vars(module)["forward"] = forward


def _through(module: nn.Module, forward: Forward, way: Way) -> Forward:
    return lambda *args, **kwargs: way(module, forward, args, kwargs)
