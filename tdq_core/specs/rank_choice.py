"""A rank rule as a command asks for it: one way to choose ranks among several options. No torch here."""

import json
from pathlib import Path
from typing import Annotated, Any

from msgspec import field, structs

from tdq_core.errors import InputError
from tdq_core.specs.choices import RULES
from tdq_core.specs.option import Option, fields_of
from tdq_core.specs.rank_rule import RankRule, ranks_from_json
from tdq_core.specs.value import Value

SHARING = tuple(option.name for option in fields_of(RankRule))
"""How a ratio is shared out: fields of the rule with flags of their own."""


class RankChoice(Value, frozen=True):
    """The ways to choose ranks, of which one is given.

    Attributes:
        ranks: JSON text, or the name of a JSON file.
        vbmf_weakening: belongs to `vbmf`; decompose_ends: to every rule but ranks by hand.
        sharing: the rule's fields that say how a ratio is shared out.
    """

    ratio: Annotated[float | None, Option(flag="--ratio", help=RULES["ratio"].help)] = None
    ranks: Annotated[
        str | None,
        Option(flag="--ranks", help="Ranks by layer: a JSON file, or JSON text such as '{\"conv1\": 8}'."),
    ] = None
    energy: Annotated[float | None, Option(flag="--energy", help=RULES["energy"].help)] = None
    vbmf: Annotated[bool, Option(flag="--vbmf", help=RULES["vbmf"].help)] = False
    vbmf_weakening: Annotated[
        float, Option(flag="--vbmf-weakening", help="rank = full - WEAKENING x (full - EVBMF rank).")
    ] = 1.0
    decompose_ends: Annotated[
        bool, Option(flag="--decompose-ends", help="Also decompose the first convolution and the classifier.")
    ] = False
    sharing: dict[str, Any] = field(default_factory=dict)

    def rule(self) -> RankRule | None:
        """The one rule that is given; None where none is.

        Raises:
            InputError: several ways, an option that has no effect without another one, or a file that cannot be read.
        """
        ways = self.ways()
        if len(ways) > 1:
            raise InputError(f"Give one way to choose ranks. Got {len(ways)}: --{', --'.join(ways)}.")
        self._require_way(ways)
        if not ways:
            return None
        if self.ranks is not None:
            return RankRule("manual", ranks=dict(read_ranks(self.ranks)), **self.sharing)
        kind, value = next(iter(ways.items()))
        number = self.vbmf_weakening if kind == "vbmf" else value
        return RankRule(kind, number, keep_ends=not self.decompose_ends, **self.sharing)

    def ways(self) -> dict[str, Any]:
        """The ways that are given, by name."""
        return {n: v for n in ("ratio", "ranks", "energy", "vbmf") if (v := getattr(self, n)) not in (None, False)}

    def _require_way(self, ways: dict[str, Any]) -> None:
        if self.vbmf_weakening != 1 and not self.vbmf:
            raise InputError(f"The --vbmf-weakening belongs to --vbmf: give it too. Got {self.vbmf_weakening:g} alone.")
        usual = {option.name: option.default for option in fields_of(RankRule)}
        asked = [n for n, v in self.sharing.items() if v != usual[n]]
        if asked and not ways:
            raise InputError(f"The {', '.join(asked)} shares out a ratio: give it with --ratio.")
        if self.decompose_ends and not set(ways) - {"ranks"}:
            raise InputError(
                "The --decompose-ends goes with --ratio, --energy or --vbmf: by hand, every layer is named."
            )

    @classmethod
    def of(cls, rule: RankRule | None) -> "RankChoice":
        """The inverse of `rule`."""
        if rule is None:
            return cls()
        sharing = {name: getattr(rule, name) for name in SHARING}
        if rule.kind == "manual":
            return cls(ranks=json.dumps(rule.to_dict()["ranks"], separators=(",", ":")), sharing=sharing)
        plain = cls(decompose_ends=not rule.keep_ends, sharing=sharing)
        if rule.kind == "vbmf":
            return structs.replace(plain, vbmf=True, vbmf_weakening=rule.value)
        return structs.replace(plain, **{rule.kind: rule.value})


def read_ranks(text: str) -> Any:
    """Ranks by layer from JSON text, or from the JSON file of that name."""
    if text.lstrip().startswith("{"):
        return ranks_from_json(text, "The ranks given")
    source = f"The ranks file '{text}'"
    try:
        return ranks_from_json(Path(text).read_text(), source)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{source} cannot be read: {error}.") from error
