"""What a model's code is made of: its own files, by content, and libraries, by version. No torch here.

Own is what lies neither in Python's library nor among installed packages. The files are found without running them: a
file's import statements name others, wherever they stand in it, and those are read in turn. A file that imports by
names made at run time counts with all Python files below its folder. What code reads as data is not followed.
"""

import ast
import functools
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
import site
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from tdq_core.system.files import file_sha256

BELOW = ("tdq_core", "torch", "torchvision", "torchao", "numpy")
"""What TDQ itself runs on is a library wherever it lies."""
UNNAMED = ("torch",)
"""Libraries that are no part of a model's code: a record's provenance says which torch it ran on."""
_AT_RUN_TIME = {"import_module", "__import__", "run_path", "run_module", "spec_from_file_location", "SourceFileLoader"}
_PASSED_OVER = re.compile(r"\..*|__pycache__|site-packages|node_modules")


@dataclass(frozen=True)
class Sources:
    """The code of one model.

    Attributes:
        files: own files, by the names of their modules.
        libraries: 'name@version' of every installed distribution that is imported.
    """

    files: Mapping[str, Path]
    libraries: frozenset[str]

    def digest(self, loaded: Iterable[tuple[str, str]] = ()) -> str:
        """SHA-256 of all content; `loaded` are (module, SHA-256) of files that were seen to be imported."""
        own = {(name, _content(path)) for name, path in self.files.items()} | set(loaded)
        return hashlib.sha256(json.dumps([sorted(own), sorted(self.libraries)]).encode()).hexdigest()


def sources_of_file(path: Path) -> Sources:
    """Those of a model's file, with what it imports."""
    reader = _Reader(path.resolve().parent)
    reader.take_file(module_name(path), path.resolve())
    return reader.sources()


def sources_of_modules(names: Iterable[str], folder: Path) -> Sources:
    """Those of modules by dotted name, found in `folder` first, then where Python finds them."""
    reader = _Reader(folder.resolve())
    for name in names:
        reader.take(name)
    return reader.sources()


def live_sources(files: Mapping[str, Path]) -> Sources:
    """Those of modules that are imported already, by name and file, as the files are now."""
    found = Sources({}, frozenset())
    for name, path in files.items():
        top = name.partition(".")[0]
        if top in BELOW or is_library(path):
            more = Sources({}, frozenset([distribution(top) or top] if top not in UNNAMED else []))
        else:
            depth = name.count(".") + (path.stem == "__init__")
            more = sources_of_file(path) if not depth else sources_of_modules([name], path.resolve().parents[depth])
        found = Sources({**found.files, **more.files}, found.libraries | more.libraries)
    return found


def named_sources(name: str) -> Sources:
    """Those of 'file.py:factory', 'package.module:factory' or 'library:NAME'; a file that is not there has none."""
    where = name.rpartition(":")[0]
    if where.endswith(".py"):
        return sources_of_file(Path(where)) if Path(where).is_file() else Sources({}, frozenset())
    return sources_of_modules([where], Path.cwd())


def module_name(path: Path) -> str:
    """The name under which a model's file is a module."""
    return re.sub(r"\W", "_", path.stem)


def is_library(path: str | Path) -> bool:
    """Whether a file or folder belongs to Python or to an installed package."""
    return f"{path}{os.sep}".startswith(_library_folders())


@functools.cache
def _library_folders() -> tuple[str, ...]:
    named = ("stdlib", "platstdlib", "purelib", "platlib")
    folders = {sysconfig.get_paths()[n] for n in named} | {*site.getsitepackages(), site.getusersitepackages()}
    resolved = {str(Path(folder).resolve()) for folder in folders}
    return tuple(folder.rstrip(os.sep) + os.sep for folder in folders | resolved)


@functools.cache
def distribution(top: str) -> str | None:
    """'name@version' of the installed distribution that brings the top-level package; None where none does."""
    try:
        return f"{top}@{importlib.metadata.version(top)}"
    except importlib.metadata.PackageNotFoundError:
        found = sorted(set(importlib.metadata.packages_distributions().get(top, ())))
        return ",".join(f"{name}@{importlib.metadata.version(name)}" for name in found) or None


@dataclass
class _Reader:
    """Follows imports from file to file."""

    folder: Path
    files: dict[str, Path] = field(default_factory=dict)
    libraries: set[str] = field(default_factory=set)
    places: dict[str, list[Path]] = field(default_factory=dict)
    """By module that was looked for, where its submodules lie."""

    def sources(self) -> Sources:
        return Sources(self.files, frozenset(self.libraries))

    def take(self, name: str) -> None:
        """The module, its parents, and all that they import."""
        self._follow([name])

    def take_file(self, name: str, path: Path) -> None:
        self.files[name], self.places[name] = path, []
        self._follow(self._imports(name, path, package=""))

    def _follow(self, wanted: list[str]) -> None:
        while wanted:
            parts = wanted.pop().split(".")
            for depth in range(1, len(parts) + 1):
                name = ".".join(parts[:depth])
                if name not in self.places:
                    wanted += self._found(name)
                if not self.places[name]:
                    break

    def _found(self, name: str) -> list[str]:
        """Note where the module lies; the modules that it imports."""
        parent, _, last = name.rpartition(".")
        path, places = _module_in(self.places[parent] if parent else [self.folder], last)
        if path is None and not parent:
            path, places = self._top(name, places)
        self.places[name] = places
        if path is None:
            return []
        self.files[name] = path
        return self._imports(name, path, package=name if self.places[name] else parent)

    def _top(self, name: str, inside: list[Path]) -> tuple[Path | None, list[Path]]:
        """A top-level module that is no file of the model's folder: a library, own code in another place, or plain
        folders, `inside`."""
        if name in sys.stdlib_module_names:
            return None, []
        path, places = (None, []) if name in BELOW else _elsewhere(name)
        if name in BELOW or any(is_library(each) for each in (path, *places) if each):
            if name not in UNNAMED:
                self.libraries.add(distribution(name) or name)
            return None, []
        if path or inside or places:
            return path, places if path else [*inside, *places]
        near = (_module_in([place], name) for place in _around(self.folder))
        return next(((file, folders) for file, folders in near if file or folders), (None, []))

    def _imports(self, name: str, path: Path, package: str) -> list[str]:
        if path.suffix != ".py":
            return []
        stat = path.stat()
        modules, stars, by_name = _read(str(path), stat.st_size, stat.st_mtime_ns, package)
        found = list(modules)
        for star in stars:  # may import whatever lies in the package
            self._follow([star])
            found += [f"{star}.{each.stem}" for place in self.places.get(star, []) for each in place.glob("*.py")]
        if by_name:
            parts = [each.relative_to(path.parent).with_suffix("").parts for each in _below(path.parent)]
            found += [".".join([*([package] if package else []), *each]) for each in parts]
        return found


def _module_in(folders: list[Path], name: str) -> tuple[Path | None, list[Path]]:
    """The file of the module `name` in the first of `folders` that has it, and where its submodules lie."""
    for folder in folders:
        package = folder / name
        for ending in (".py", *EXTENSION_SUFFIXES):
            if (file := package / f"__init__{ending}").is_file():
                return file, [package]
            if (file := folder / f"{name}{ending}").is_file():
                return file, []
    without_file = [folder / name for folder in folders if (folder / name).is_dir()]
    return None, without_file


def _elsewhere(name: str) -> tuple[Path | None, list[Path]]:
    """Where Python finds a top-level module; nothing is imported."""
    for finder in sys.meta_path:
        try:
            spec = finder.find_spec(name, None)
        except (AttributeError, ImportError, ValueError):
            continue
        if spec is not None:
            file = Path(spec.origin) if spec.has_location and spec.origin else None
            return file, [Path(place) for place in spec.submodule_search_locations or ()]
    return None, []


def _around(folder: Path) -> Iterator[Path]:
    """Where code looks that changes `sys.path`: inside of the model's folder, above it, and beside it."""
    yield from _folders_in(folder)
    yield from list(folder.parents)[:2]
    yield from _folders_in(folder.parent)


def _folders_in(folder: Path) -> list[Path]:
    try:
        return [each for each in sorted(folder.iterdir()) if not _PASSED_OVER.fullmatch(each.name) and each.is_dir()]
    except OSError:  # not ours to read
        return []


def _below(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(
            each for each in folders if not (_PASSED_OVER.fullmatch(each) or Path(place, each, "pyvenv.cfg").exists())
        )
        yield from (Path(place, file) for file in sorted(files) if file.endswith(".py"))


@functools.lru_cache(maxsize=4096)
def _read(path: str, size: int, time_ns: int, package: str) -> tuple[tuple[str, ...], tuple[str, ...], bool]:
    """What a file imports: modules, packages of which it takes everything, and whether also by names made later."""
    try:
        tree = ast.parse(Path(path).read_bytes())
    except (SyntaxError, ValueError, RecursionError):  # whoever imports it says so
        return (), (), False
    modules, stars, by_name = [], [], False
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, package)
            inside = [f"{base}.{alias.name}".lstrip(".") for alias in node.names if alias.name != "*"]
            modules += [base, *inside] if base else inside
            stars += [base for alias in node.names if alias.name == "*" and base]
        elif isinstance(node, ast.Call) and _called(node) in _AT_RUN_TIME:
            constant = node.args[0] if node.args else None
            if isinstance(constant, ast.Constant) and isinstance(constant.value, str) and constant.value[:1] != ".":
                modules.append(constant.value)
            else:
                by_name = True
    return tuple(modules), tuple(stars), by_name


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parts = package.split(".") if package else []
    parts = parts[: len(parts) - node.level + 1]
    return ".".join([*parts, *([node.module] if node.module else [])])


def _content(path: Path) -> str:
    stat = path.stat()
    return _sha256(path, stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=4096)
def _sha256(path: Path, size: int, time_ns: int) -> str:
    return file_sha256(path)
