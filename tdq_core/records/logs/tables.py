"""One row a run in a file that pandas and DuckDB read: the columns of `tdq csv`. No torch here."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tdq_core.errors import InputError
from tdq_core.records.record import RunRecord
from tdq_core.records.table import COLUMNS, row, to_csv
from tdq_core.system.extras import install_command
from tdq_core.system.files import require_file, write_atomically

_INTS = ("finetune", "inner_bits", "n", "params", "macs", "bytes", "seed")
_BOOLS = ("calibrated", "symmetric", "reestimate_bn", "conditioned", "quantization_aware")
_FLOATS = (
    "epc_eta", "top1", "top1_low", "top1_high", "drop", "drop_low", "drop_high", "baseline_top1",
    "compression_ratio", "bytes_ratio", "latency_ms",
)  # fmt: skip


class CsvLog:
    """A CSV file; rows that it holds stay, but for runs that are told again."""

    def __init__(self, path: Path) -> None:
        require_file(path)
        self.path = path
        self.rows: dict[str, str] = {}
        if path.exists():
            self._read()

    def _read(self) -> None:
        try:
            found = list(csv.reader(io.StringIO(self.path.read_text(), newline="")))
        except (OSError, ValueError, csv.Error) as error:
            raise InputError(f"The log '{self.path}' cannot be read: {error}. Name another file.") from error
        if (found and tuple(found[0]) != COLUMNS) or any(len(cells) != len(COLUMNS) for cells in found):
            raise InputError(f"The log '{self.path}' is not one of TDQ's: its columns are others. Name another file.")
        self.rows = {cells[0]: _line(cells) for cells in found[1:]}

    def add(self, records: Sequence[RunRecord], files: Path | None) -> None:
        for record in records:
            self.rows[record.run_id] = to_csv([record]).partition("\n")[2]
        write_atomically(self.path, ",".join(COLUMNS) + "\n" + "".join(self.rows.values()))


def _line(cells: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


class ParquetLog:
    """A Parquet file, in full precision; rows that it holds stay, but for runs that are told again."""

    def __init__(self, path: Path) -> None:
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError as error:
            raise InputError(
                f"A Parquet log needs pyarrow, not installed here: {install_command('dashboard')}. 'csv:FILE' needs "
                "nothing."
            ) from error
        require_file(path)
        self.path, self.arrow, self.parquet = path, pa, pq
        self.rows: dict[str, Mapping[str, Any]] = {}
        if path.exists():
            self._read()

    def _read(self) -> None:
        try:
            found = self.parquet.ParquetFile(self.path).read()
        except (OSError, ValueError, self.arrow.ArrowException) as error:
            said = str(error).split("\n")[0]
            raise InputError(f"The log '{self.path}' cannot be read: {said} Name another file.") from error
        if found.schema.names != list(COLUMNS):
            raise InputError(f"The log '{self.path}' is not one of TDQ's: its columns are others. Name another file.")
        self.rows = {cells["run_id"]: cells for cells in found.to_pylist()}

    def add(self, records: Sequence[RunRecord], files: Path | None) -> None:
        self.rows |= {record.run_id: row(record) for record in records}
        table = self.arrow.Table.from_pylist(list(self.rows.values()), schema=self._schema())
        written = self.arrow.BufferOutputStream()
        self.parquet.write_table(table, written)
        write_atomically(self.path, written.getvalue().to_pybytes())

    def _schema(self) -> Any:
        pa = self.arrow
        kinds = (
            dict.fromkeys(_INTS, pa.int64()) | dict.fromkeys(_BOOLS, pa.bool_()) | dict.fromkeys(_FLOATS, pa.float64())
        )
        return pa.schema([(name, kinds.get(name, pa.string())) for name in COLUMNS])
