"""One pass of a network written down: which modules are called how, who takes their outputs, who reads their weights.

Operations count, not modules alone: they are seen as they are called from Python (`norm(y) + y` has two takers), and
once more as torch carries them out (which weights are read, whatever views lie between).
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils._python_dispatch import TorchDispatchMode

from tdq_core.graph.observe import first_tensor, tensors

ELSEWHERE = ""
"""Taker of a tensor that an operation outside of all watched modules takes, or that the network returns."""

Fact = bool | int | str | torch.Size | torch.dtype | torch.device | torch.layout | torch.memory_format


@dataclass(frozen=True)
class Site:
    """One call of a watched module.

    Attributes:
        name: of the module; index: calls of it before this one, in the same pass.
        input, output: shapes of the first tensor that it takes, and that it gives.
        takers: the watched modules in which operations took its output, one entry each; `ELSEWHERE` for others.
    """

    name: str
    index: int
    input: torch.Size
    output: torch.Size
    takers: tuple[str, ...]


@dataclass(frozen=True)
class Reading:
    """A parameter taken by an operation that runs outside of the module that owns it.

    Attributes:
        parameter: its name, of a module that calls it its own; operation: as 'linear'; inside: name of the innermost
            module that runs meanwhile.
        fact: whether only facts about it were asked for (its type, its device), no values.
        output: shape of what the operation gives, None where that is no tensor.
    """

    parameter: str
    operation: str
    inside: str
    fact: bool
    output: torch.Size | None


@dataclass(frozen=True)
class Trace:
    """What one pass showed.

    Attributes:
        sites: calls of the watched modules, in the order in which they ended.
        readings: of parameters of this network, from outside.
        foreign: by id, shapes of parameters that were read and are none of the network's own.
        read: names of the parameters and buffers whose values any operation read.
        entered: names of all modules that were called.
        operators: names of torch's operators that ran, as 'aten::convolution'.
    """

    sites: tuple[Site, ...]
    readings: tuple[Reading, ...]
    foreign: dict[int, torch.Size]
    read: frozenset[str]
    entered: frozenset[str]
    operators: frozenset[str]


def trace(model: nn.Module, names: Iterable[str], example: Tensor) -> Trace:
    """Pass `example` (N, C, H, W) once and write down what happens at the modules `names`.

    What images decide about the way through the network is not seen.
    """
    calls, operators = _Calls(model, list(names)), _Operators(model)
    with calls.hooked(), torch.no_grad(), operators, calls:
        returned = model(example)
    calls.give_back(returned)
    return Trace(
        sites=calls.sites(),
        readings=tuple(calls.readings),
        foreign=calls.foreign,
        read=frozenset(operators.read),
        entered=frozenset(calls.entered),
        operators=frozenset(operators.names),
    )


@dataclass
class _Output:
    """What a module made in one call, and the modules in which operations took it, one entry each."""

    maker: str
    input: torch.Size
    tensor: Tensor  # kept, so that no later tensor has its id
    takers: list[str] = field(default_factory=list)


class _Calls(TorchFunctionMode):
    """Tells the outputs that are known so far who takes them, and parameters who reads them.

    An operation that gives facts about a tensor (its shape, its type) takes nothing, nor does one that gives the tensor
    itself back, unchanged (a dropout at rest).
    """

    def __init__(self, model: nn.Module, names: list[str]) -> None:
        super().__init__()
        self.model = model
        self.watched = set(names)
        self.outputs: list[_Output] = []
        self.readings: list[Reading] = []
        self.foreign: dict[int, torch.Size] = {}
        self.entered: set[str] = set()
        self._by_id: dict[int, list[_Output]] = defaultdict(list)
        self._running: list[str] = []
        self._taking = [ELSEWHERE]
        self._inputs: list[torch.Size] = []
        self._own = {id(p): name for name, p in model.named_parameters()}
        self._owners = owners(model)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        seen = list(tensors((args, kwargs or {})))
        taken = [output for tensor in seen for output in self._made(tensor)]
        before = [_version(output.tensor) for output in taken]
        result = func(*args, **(kwargs or {}))
        for output, version in zip(taken, before, strict=True):
            unchanged = result is output.tensor and _version(output.tensor) == version
            if not (unchanged or _is_fact(result)):
                output.takers.append(self._taking[-1])
        for tensor in seen:
            if isinstance(tensor, nn.Parameter):
                self._read(tensor, func, result)
        return result

    def _read(self, parameter: nn.Parameter, func: Callable[..., Any], result: Any) -> None:
        name, inside = self._own.get(id(parameter)), self._running[-1] if self._running else ELSEWHERE
        if name is None:
            self.foreign[id(parameter)] = parameter.shape
        elif inside not in self._owners[id(parameter)]:
            made = first_tensor(result)
            fact = _is_fact(result)
            self.readings.append(Reading(name, _called(func), inside, fact, made.shape if made is not None else None))

    def give_back(self, returned: Any) -> None:
        """The network has `returned`: somebody outside takes that."""
        for tensor in tensors(returned):
            for output in self._made(tensor):
                output.takers.append(ELSEWHERE)

    def sites(self) -> tuple[Site, ...]:
        found, counts = [], defaultdict[str, int](int)
        for output in self.outputs:
            site = Site(output.maker, counts[output.maker], output.input, output.tensor.shape, tuple(output.takers))
            counts[output.maker] += 1
            found.append(site)
        return tuple(found)

    def _made(self, tensor: Tensor) -> list[_Output]:
        return [output for output in self._by_id.get(id(tensor), ()) if output.tensor is tensor]

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """Every module of the network reports when it begins and ends, as long as the context lasts."""
        with ExitStack() as stack:
            for name, module in self.model.named_modules():
                begin = module.register_forward_pre_hook(self._beginning(name), with_kwargs=True)
                stack.callback(begin.remove)
                stack.callback(module.register_forward_hook(self._ending(name), always_call=True).remove)
            yield

    def _beginning(self, name: str) -> Callable[..., None]:
        def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            self.entered.add(name)
            self._running.append(name)
            if name in self.watched:
                taken = first_tensor((args, kwargs))
                self._inputs.append(torch.Size() if taken is None else taken.shape)
                self._taking.append(name)

        return hook

    def _ending(self, name: str) -> Callable[..., None]:
        def hook(*about: Any) -> None:
            self._running.pop()
            if name not in self.watched:
                return
            self._taking.pop()
            taken, made = self._inputs.pop(), first_tensor(about[-1])
            if made is not None:
                output = _Output(name, taken, made)
                self.outputs.append(output)
                self._by_id[id(made)].append(output)

        return hook


class _Operators(TorchDispatchMode):
    """Which operators run, and which of the network's tensors they read."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.read: set[str] = set()
        state = (*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False))
        self._by_storage: dict[int, list[str]] = defaultdict(list)
        for name, tensor in state:
            self._by_storage[_storage(tensor)].append(name)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        self.names.add(str(func.name()).partition(".")[0])
        for tensor in tensors((args, kwargs or {})):
            self.read.update(self._by_storage.get(_storage(tensor), ()))
        return func(*args, **(kwargs or {}))


def owners(model: nn.Module) -> dict[int, set[str]]:
    """By id of a parameter, names of the modules that hold it themselves, under every name."""
    found: dict[int, set[str]] = defaultdict(set)
    for name, module in model.named_modules():
        for parameter in module.parameters(recurse=False):
            found[id(parameter)].add(name)
    return found


def _storage(tensor: Tensor) -> int:
    """What tensors share that look at the same memory; of those without memory (on 'meta') what the tensor is."""
    try:
        return tensor.untyped_storage()._cdata
    except (NotImplementedError, RuntimeError):
        return id(tensor)


def _called(func: Callable[..., Any]) -> str:
    """'linear' of torch.nn.functional.linear, 'dtype' of the getter of Tensor.dtype."""
    return (resolve_name(func) or repr(func)).removesuffix(".__get__").rpartition(".")[2]


def _version(tensor: Tensor) -> int:
    """How often it has been changed in place, where torch counts that."""
    return 0 if tensor.is_inference() else tensor._version


def _is_fact(result: Any) -> bool:
    return isinstance(result, Fact) or (isinstance(result, tuple) and all(isinstance(each, int) for each in result))
