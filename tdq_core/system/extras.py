"""What TDQ needs and what its extras add, as the installed package's own metadata say; nothing is imported to know."""

from collections.abc import Iterator, Sequence
from importlib import metadata
from typing import TYPE_CHECKING, NamedTuple

from tdq_core.errors import InputError

if TYPE_CHECKING:
    from packaging.requirements import Requirement

EXTRAS = {
    "dashboard": "The dashboard",
    "pt2e": "INT8 through torch",
    "timm": "A model named timm:NAME",
    "sweep": "A sweep",
    "mlflow": "A log for MLflow",
}
"""What each extra is for; those for developers, and `all`, are left out."""


def installed(package: str) -> str | None:
    """The version of a package of that name, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def requirements(extra: str = "") -> "tuple[Requirement, ...]":
    """What TDQ needs on this machine, or what `extra` adds to that; nothing where TDQ itself was never installed."""
    from packaging.requirements import Requirement  # late: `tdq --help` need not wait for it

    texts = metadata.requires("tdq") or [] if installed("tdq") else []
    return tuple(_wanted(extra, [Requirement(text) for text in texts]))


def _wanted(extra: str, known: "Sequence[Requirement]") -> "Iterator[Requirement]":
    for need in known:
        always, asked = (need.marker is None or need.marker.evaluate({"extra": name}) for name in ("", extra))
        if not asked or (extra and always):
            continue
        if need.name == "tdq":  # an extra that is made of others
            for other in sorted(need.extras):
                yield from _wanted(other, known)
        else:
            yield need


class Lack(NamedTuple):
    """A package that is absent (`version` None) or of a version outside its range."""

    need: "Requirement"
    version: str | None

    def __str__(self) -> str:
        if self.version is None:
            return f"{self.need.name} is not installed"
        return f"{self.need.name} {self.version} is installed, and {self.need.specifier} is needed"


def lacking(extra: str = "") -> tuple[Lack, ...]:
    """What of `requirements(extra)` is not as it should be."""
    found = (Lack(need, installed(need.name)) for need in requirements(extra))
    return tuple(
        lack for lack in found if not (lack.version and lack.need.specifier.contains(lack.version, prereleases=True))
    )


def require_extra(extra: str) -> None:
    """Return where every package of `extra` is installed, whatever its version.

    Raises:
        InputError: names what is missing and how to get it.
    """
    absent = [lack.need.name for lack in lacking(extra) if lack.version is None]
    if absent:
        what = " and ".join([*filter(None, [", ".join(absent[:-1])]), absent[-1]])
        raise InputError(f"{EXTRAS[extra]} needs {what}, not installed here: {install_command(extra)}.")


def install_command(extra: str) -> str:
    """What gets the packages of `extra`."""
    return f"pip install 'tdq[{extra}]'"
