"""Read and write Parquet and Arrow files, and folders that Hugging Face `datasets` saved.

Everything that needs pyarrow, which is an extra: ``tuner[parquet]``. A folder of ``save_to_disk`` is
read without that library: ``state.json`` lists the Arrow files, ``dataset_dict.json`` the splits
(huggingface/datasets, ``arrow_dataset.py`` and ``dataset_dict.py``, read in November 2026).
"""

from __future__ import annotations

import json
from itertools import islice
from typing import IO, TYPE_CHECKING, Any

from tuner.data.dataset import BATCH_ROWS, Batch, problems_only
from tuner.data.record_formats import (
    PLAIN,
    RECORD_FORMATS,
    RecordError,
    detect_record_format,
    missing_columns,
    record_reader,
)
from tuner.errors import DatasetError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from tuner.data.dataset import Field, Source
    from tuner.data.record_formats import Record

_OPTIONAL_KEYS = ("system", "input", "history", "tools", "systemInstruction", "system_instruction")
"""Columns of record formats besides those that identify them."""
_DAMAGED = (ValueError, LookupError, MemoryError, SystemError, OSError)
"""Exceptions of pyarrow for damaged files, besides its own types."""


def read(path: Path, source: Source) -> Iterator[Batch]:
    """Yield the rows of a Parquet or Arrow file, some thousand in memory at a time.

    A row's line is its number, from 1; its column is 0. Cells that are not texts are problems.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        try:
            import pyarrow as pa
        except ModuleNotFoundError:
            yield problems_only(path, _not_installed(path))
            return
        yield problems_only(path)  # names the file even if it is empty
        count = 0
        try:
            for batch in _record_batches(file, source):
                names = batch.schema.names
                record_format = detect_record_format(names, source) or PLAIN
                if record_format == PLAIN and not set(source.columns) <= set(names):
                    missing = missing_columns(str(path), 0, source.columns, names, "column")
                    yield problems_only(path, *missing)
                    return
                yield _read_batch(path, batch, count, source)
                count += batch.num_rows
        except (pa.ArrowException, *_DAMAGED) as error:
            said = (str(error).splitlines() or [type(error).__name__])[0][:200]
            what = f"cannot be read after row {count:,}: {said}"
            problem = Problem(str(path), 0, 0, what, "write the file again", "bad-parquet")
            yield problems_only(path, problem)


def read_folder(path: Path, source: Source) -> Iterator[Batch]:
    """Yield the rows of a folder that ``save_to_disk`` wrote; of several splits, ``train``.

    Raises:
        OSError: A file cannot be read.
    """
    try:
        files = _files(path)
    except (ValueError, LookupError, TypeError, AttributeError):
        what = "state.json or dataset_dict.json in it is not what `datasets` writes"
        fix = "save it again with save_to_disk"
        yield problems_only(path, Problem(str(path), 0, 0, what, fix, "bad-parquet"))
        return
    if isinstance(files, Problem):
        yield problems_only(path, files)
    else:
        for file in files:
            yield from read(file, source)


def as_parquet(file: IO[bytes], keys: Sequence[str], records: Iterable[Record]) -> None:
    """Write Parquet: Snappy-compressed row groups of some thousand rows."""
    pa = _arrow()
    import pyarrow.parquet as pq

    schema, batches = _tables(pa, keys, records)
    with pq.ParquetWriter(file, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


def as_arrow(file: IO[bytes], keys: Sequence[str], records: Iterable[Record]) -> None:
    """Write Arrow's file format, which is also Feather 2."""
    pa = _arrow()
    schema, batches = _tables(pa, keys, records)
    with pa.ipc.new_file(file, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


def _arrow() -> Any:
    try:
        import pyarrow as pa
        import pyarrow.ipc
    except ModuleNotFoundError as error:
        raise DatasetError([_not_installed("")]) from error
    return pa


def _not_installed(path: object) -> Problem:
    what = "Parquet and Arrow need pyarrow, which is not installed"
    return Problem(str(path), 0, 0, what, "pip install 'tuner[parquet]'", "unreadable")


def _tables(pa: Any, keys: Sequence[str], records: Iterable[Record]) -> tuple[Any, Iterator[Any]]:
    """Return the schema of the first records, and record batches of all of them."""
    rest = iter(records)
    first = list(islice(rest, BATCH_ROWS))
    if first:
        schema = pa.Table.from_pylist(first).schema
    else:
        schema = pa.schema([(key, pa.string()) for key in keys])

    def batches() -> Iterator[Any]:
        some = first
        while some:
            yield pa.RecordBatch.from_pylist(some, schema)
            some = list(islice(rest, BATCH_ROWS))

    return schema, batches()


def _record_batches(file: IO[bytes], source: Source) -> Iterator[Any]:
    import pyarrow.parquet as pq
    from pyarrow import ipc

    magic = file.read(6)
    file.seek(0)
    if magic.startswith(b"PAR1") or file.name.endswith((".parquet", ".pq")):
        parquet = pq.ParquetFile(file)
        columns = _needed(parquet.schema_arrow.names, source)
        for batch in parquet.iter_batches(BATCH_ROWS, columns=columns):
            yield batch
    elif magic == b"ARROW1":
        arrow = ipc.open_file(file)
        for index in range(arrow.num_record_batches):
            yield from _sliced(arrow.get_batch(index), source)
    else:
        for batch in ipc.open_stream(file):
            yield from _sliced(batch, source)


def _sliced(batch: Any, source: Source) -> Iterator[Any]:
    some = batch.select(_needed(batch.schema.names, source))
    some.validate(full=True)  # a wrong offset could crash the process
    for start in range(0, batch.num_rows, BATCH_ROWS):
        yield some.slice(start, BATCH_ROWS)


def _needed(names: Sequence[str], source: Source) -> list[str]:
    """Return the columns to read; all of them if one is missing, to be named in the problem."""
    record_format = detect_record_format(names, source)
    keys = RECORD_FORMATS[record_format].keys if record_format in RECORD_FORMATS else source.columns
    if any(key not in names for key in keys):
        return list(names)
    beside = _OPTIONAL_KEYS if record_format in RECORD_FORMATS else ()
    return [name for name in names if name in keys or name in beside]


def _read_batch(path: Path, batch: Any, before: int, source: Source) -> Batch:
    """Return the rows of a record batch; ``before`` is the number of rows of earlier ones."""
    read = record_reader(detect_record_format(batch.schema.names, source) or PLAIN)
    inputs, outputs, lines, problems = [], [], [], []
    for line, record in enumerate(batch.to_pylist(), before + 1):
        for part in read(record, source):
            if isinstance(part, RecordError):
                problems.append(Problem(str(path), line, 0, part.what, part.fix, part.rule))
            else:
                inputs.append(part.text_input)
                outputs.append(part.output)
                lines.append(line)

    def locate(row: int, field: Field, offset: int = 0) -> tuple[int, int]:  # noqa: ARG001 -- a row has no columns
        return lines[row], 0

    return Batch(str(path), inputs, outputs, lines, problems, locate)


def _files(path: Path) -> list[Path] | Problem:
    splits = path / "dataset_dict.json"
    if splits.is_file():
        names = json.loads(splits.read_text("utf-8"))["splits"]
        if "train" not in names:
            what = f"has the splits {', '.join(names) or 'none'}, and no train"
            return Problem(str(path), 0, 0, what, f"name one: {path / 'SPLIT'}", "unreadable")
        return _files(path / "train")
    if not (path / "state.json").is_file():
        what = "is a folder, but none that save_to_disk of `datasets` wrote"
        fix = f"name the files in it, e.g. {path / '*.jsonl'}"
        return Problem(str(path), 0, 0, what, fix, "unreadable")
    state = json.loads((path / "state.json").read_text("utf-8"))
    if state.get("_indices_data_files"):
        what = "holds a selection of rows, which only `datasets` can read"
        fix = "call flatten_indices() before save_to_disk"
        return Problem(str(path), 0, 0, what, fix, "unreadable")
    return [path / each["filename"] for each in state["_data_files"]]
