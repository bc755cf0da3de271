"""Replacing layers one after another, each when it is known what those before it send."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from tdq_core.errors import RunFailed
from tdq_core.graph.observe import first_tensor
from tdq_core.graph.replace import replace

See = Callable[[str, int, Tensor], None]
Settle = Callable[[str], nn.Module]


def settle_in_turn(model: nn.Module, images: Tensor, calls: Mapping[str, int], *, see: See, settle: Settle) -> None:
    """Replace the modules named in `calls`, in place, in the order in which `images` (N, C, H, W) first arrive at them.

    When they arrive at a module, `see` is shown the input of each of its calls (name, number of the call, input), and
    what `settle` (name) then gives takes its place. By then all modules that are called first before it have been
    replaced; itself and those after it are still the original ones. A module that is called once sees its input in
    passing, for one that is called more often the images are passed once more.

    Args:
        calls: how often each module is called in one pass.

    Raises:
        RunFailed: a module is called more or less often.
    """
    walk = _Walk(model, images, see, settle)
    with walk.gates(calls):
        model(images)


@dataclass
class _Walk:
    model: nn.Module
    images: Tensor
    see: See
    settle: Settle
    looking: "_Gate | None" = None

    @contextmanager
    def gates(self, calls: Mapping[str, int]) -> Iterator[None]:
        """Gates in place of the modules; afterwards what they settled stands there itself."""
        gates = {name: _Gate(name, count, self.model.get_submodule(name), self) for name, count in calls.items()}
        replace(self.model, gates)
        yield
        for gate in gates.values():
            gate.require_calls()
        replace(self.model, {name: gate.inside for name, gate in gates.items()})

    def arrive(self, gate: "_Gate", inputs: Tensor) -> None:
        """Inputs come to `gate`; afterwards it lets them through."""
        if self.looking is gate:
            self.see(gate.name, gate.called, inputs)
        elif self.looking is not None:
            return
        elif not gate.settled:
            self._settle(gate, inputs)
        gate.called += 1

    def _settle(self, gate: "_Gate", inputs: Tensor) -> None:
        if gate.calls == 1:
            self.see(gate.name, 0, inputs)
        else:
            self.looking = gate
            self.model(self.images)
            self.looking = None
            gate.require_calls()
        gate.inside, gate.settled, gate.called = self.settle(gate.name), True, 0


class _Gate(nn.Module):
    """Stands where a module stood, which goes on inside until it is settled."""

    def __init__(self, name: str, calls: int, inside: nn.Module, walk: _Walk) -> None:
        super().__init__()
        self.name, self.calls, self.called = name, calls, 0
        self.inside, self.settled = inside, False
        self._walk = walk

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        inputs = first_tensor((args, kwargs))
        assert inputs is not None, "a layer takes a tensor"
        self._walk.arrive(self, inputs)
        return self.inside(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        """What a network reads of a layer (its weight's type, its channels) is that of the one inside."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("inside"), name)

    def require_calls(self) -> None:
        if self.called != self.calls:
            raise RunFailed(
                f"The layer '{self.name}' was called {self.called} times in a pass of the compressed network and "
                f"{self.calls} times in the original one, so that its calls cannot be paired: leave this layer dense, "
                "or decompose by the weights alone."
            )
