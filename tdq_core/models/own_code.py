"""Importing a model's own code: afresh, apart from other models' modules, and so that it is known what was imported.

Own modules (see `sources`) are compiled from their files, never taken from bytecode or from an earlier import. Their
lasting names begin with a prefix of their own, 'tdq_own_3.blocks', so that two models may have a `blocks` each; under
the names that the code itself uses they stand in `sys.modules` while the code is being imported, and no longer.
"""

import builtins
import contextlib
import hashlib
import importlib
import importlib.abc
import importlib.util
import itertools
import linecache
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from tdq_core.models.sources import BELOW, is_library, module_name

PREFIX = "tdq_own_"
_NUMBERS = itertools.count(1)


class OwnCode(importlib.abc.MetaPathFinder):
    """The modules of one model's own code.

    Attributes:
        loaded: SHA-256 of every own file that was imported, by the name of its module.
    """

    def __init__(self, folder: Path) -> None:
        self.prefix = f"{PREFIX}{next(_NUMBERS)}"
        self.loaded: dict[str, str] = {}
        self.modules: dict[str, ModuleType] = {}
        self._path = [str(folder)]
        self._inside = False
        root = ModuleType(self.prefix)
        root.__path__ = [str(folder)]
        sys.modules[self.prefix] = root
        _OPENED[self.prefix] = self
        if _TRACED not in sys.meta_path:
            sys.meta_path.append(_TRACED)

    def file(self, path: Path) -> ModuleType:
        """Import a file; to be called while `importable`."""
        spec = self.own_spec(module_name(path), str(path.resolve()), None)
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        assert spec.loader, "made with one"
        spec.loader.exec_module(module)
        return module

    @contextlib.contextmanager
    def importable(self) -> Iterator[None]:
        """Within, the code finds its own modules under the names that it uses, and no other model's."""
        if self._inside:
            yield
            return
        others = {name: module for name, module in list(sys.modules.items()) if _is_own(name, module)}
        path = list(sys.path)
        _forget(others)
        sys.modules.update({name: m for name, m in self.modules.items() if name not in sys.modules})
        sys.path[:0] = self._path
        sys.meta_path.insert(0, self)
        self._inside = True
        try:
            yield
        finally:
            self._inside = False
            sys.meta_path.remove(self)
            self._path = [place for place in sys.path if place not in path]  # code may have added places to look in
            sys.path[:] = path
            _forget([name for name, module in sys.modules.items() if self.modules.get(name) is module])
            sys.modules.update(others)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Of own modules; None for libraries."""
        name = fullname.removeprefix(f"{self.prefix}.")
        if name.partition(".")[0] in BELOW:
            return None
        found = (
            finder.find_spec(name, path, target)
            for finder in sys.meta_path
            if not isinstance(finder, OwnCode | _Traced)
        )
        spec = next((each for each in found if each is not None), None)
        if spec is None or spec.origin in ("built-in", "frozen"):
            return None
        places = None if spec.submodule_search_locations is None else list(spec.submodule_search_locations)
        where = spec.origin if spec.has_location and spec.origin else next(iter(places or ()), None)
        if where is None or is_library(where):
            return None
        if places is not None and not spec.has_location:  # a plain folder
            return self.own_spec(name, None, places)
        return self.own_spec(name, where, places) if where.endswith(".py") else None

    def own_spec(self, name: str, file: str | None, places: list[str] | None) -> ModuleSpec:
        """Of the module `name`, in a `file` or a plain folder; of a package with the `places` of its modules."""
        spec = ModuleSpec(f"{self.prefix}.{name}", _Loader(self, name, file), origin=file)
        spec.submodule_search_locations = places
        spec.has_location = file is not None
        return spec

    def builtins(self) -> dict[str, Any]:
        """Those whose imports find own modules at any time, for code may import when it is called."""

        def own_import(
            name: str,
            globals: Mapping[str, object] | None = None,
            locals: Mapping[str, object] | None = None,
            fromlist: Sequence[str] | None = (),
            level: int = 0,
        ) -> ModuleType:
            with self.importable():
                return builtins.__import__(name, globals, locals, fromlist or (), level)

        return vars(builtins) | {"__import__": own_import}


class _Traced(importlib.abc.MetaPathFinder):
    """Finds modules that are imported already for `torch.export`, which imports by itself what the code that it traces
    imports."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        code = _OPENED.get(_traced_name().partition(".")[0])
        spec = code.modules[fullname].__spec__ if code and fullname in code.modules else None
        return code.own_spec(fullname, spec.origin, spec.submodule_search_locations) if code and spec else None


_OPENED: dict[str, OwnCode] = {}
_TRACED = _Traced()


def _traced_name() -> str:
    """The name of the module whose import statement is being traced; '' where none is."""
    frame: FrameType | None = sys._getframe()
    while frame and frame.f_code.co_name != "IMPORT_NAME":
        frame = frame.f_back
    return str(getattr(frame.f_locals.get("self"), "f_globals", {}).get("__name__", "")) if frame else ""


class _Loader(SourceFileLoader):
    """Runs a file as it is now; a plain folder has no file."""

    def __init__(self, code: OwnCode, name: str, file: str | None) -> None:
        super().__init__(f"{code.prefix}.{name}", file or "")
        self.code, self.own_name = code, name

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.code.modules.get(self.own_name)

    def exec_module(self, module: ModuleType) -> None:
        name, modules = self.own_name, self.code.modules
        if modules.get(name) is module:  # imported already, under its other name
            return
        modules[name] = module
        sys.modules.setdefault(name, module)
        vars(module)["__builtins__"] = self.code.builtins()
        try:
            if self.path:
                linecache.checkcache(self.path)
                super().exec_module(module)
        except BaseException:
            _forget([each for each in (name, module.__name__) if sys.modules.get(each) is module])
            del modules[name]
            raise

    def get_code(self, fullname: str) -> Any:
        data = self.get_data(self.path)
        self.code.loaded[self.own_name] = hashlib.sha256(data).hexdigest()
        return self.source_to_code(data, self.path)


def _forget(names: Iterable[str]) -> None:
    for name in names:
        sys.modules.pop(name, None)


def _is_own(name: str, module: ModuleType) -> bool:
    """Whether a module is somebody's own code under the name that the code itself uses."""
    top = name.partition(".")[0]
    if top in (*BELOW, "__main__") or top.startswith(PREFIX) or top in sys.stdlib_module_names:
        return False
    where = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", None) or ()), None)
    return isinstance(where, str) and not is_library(where)
