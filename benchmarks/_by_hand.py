"""Files of what people choose layer by layer, ranks and bits, read as a command reads them and planned with."""

from pathlib import Path
from typing import Any

from tdq_core.errors import TDQError
from tdq_core.layers.table import LayerTable
from tdq_core.ranks.plan import make_plan
from tdq_core.records.store import shipped_folder
from tdq_core.specs import PrecisionSpec, RankRule, RunSpec
from tdq_core.specs.bits import read_bits
from tdq_core.specs.command import command_line
from tdq_core.specs.rank_choice import read_ranks

MODEL = "digits_resnet"


def _table() -> LayerTable:
    return LayerTable.read(next((shipped_folder() / "layers").glob(f"{MODEL}-*.json")))


def ranks_of(folder: Path, data: bytes) -> Any:
    (folder / "ranks.json").write_bytes(data)
    table = _table()
    try:
        return make_plan(table, "tucker2", RankRule("manual", ranks=read_ranks(str(folder / "ranks.json"))))
    except TDQError:
        return None


def bits_of(folder: Path, data: bytes) -> Any:
    (folder / "bits.json").write_bytes(data)
    table = _table()
    try:
        precision = PrecisionSpec("w4a8", bits=read_bits(str(folder / "bits.json")))
        command_line(RunSpec.of(MODEL, "digits", precision="w4a8", bits=precision.bits))
        return make_plan(table, "none", None, precision)
    except TDQError:
        return None
