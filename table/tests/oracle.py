#!/usr/bin/env python3
"""Writes the files in data/ beside this one, as the programs that people use write them.

    python3 -m venv venv && venv/bin/pip install pyarrow && venv/bin/python oracle.py
"""

import datetime
import pathlib

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as parquet

HERE = pathlib.Path(__file__).resolve().parent / "data"
ROWS = 2500


def mixed() -> pa.Table:
    """More rows than are converted at once, and a type of each kind."""
    rows = range(ROWS)
    return pa.table(
        {
            "small": pa.array([row % 200 - 100 for row in rows], pa.int8()),
            "whole": pa.array([(row * 7919 - 5_000_000) * 10**9 for row in rows], pa.int64()),
            "single": pa.array([row / 7 - 100 for row in rows], pa.float32()),
            "double": pa.array([row / 3 * 1e-20 for row in rows], pa.float64()),
            "flag": pa.array([row % 3 == 0 for row in rows]),
            "words, quoted": pa.array([["plain", 'with "quotes"', "two\nlines", "a,b"][row % 4] for row in rows]),
            "category": pa.array([["low", "high"][row % 2] for row in rows]).dictionary_encode(),
        }
    )


def write(name: str, table: pa.Table, **options) -> None:
    parquet.write_table(table, HERE / f"{name}.parquet", **options)


def stream(name: str, table: pa.Table) -> None:
    with pa.ipc.new_stream(HERE / f"{name}.arrows", table.schema) as out:
        out.write_table(table, max_chunksize=1000)


HERE.mkdir(exist_ok=True)
write("mixed", mixed(), row_group_size=1000)
small = mixed().slice(0, 40)
for compression in ["gzip", "lz4", "zstd", "none"]:
    write(f"small-{compression}", small, compression=compression)
feather.write_feather(small, HERE / "small.arrow", compression="lz4")
stream("small", small)

images = pa.table(
    {
        "image": pa.array([[row, row + 1, row + 2, 255] for row in range(10)], pa.list_(pa.uint8(), 4)),
        "vector": pa.array([[row / 2, -1.0] for row in range(10)], pa.list_(pa.float32())),
        "a": pa.array(range(10), pa.int16()),
        "b": pa.array([row / 4 for row in range(10)], pa.float32()),
        "label": pa.array([row % 3 for row in range(10)], pa.int64()),
    }
)
write("images", images)

faults = {
    "null": pa.array([1.0, None, 3.0]),
    "nan": pa.array([1.0, 2.0, float("nan")]),
    "date": pa.array([datetime.date(2020, 1, day) for day in (1, 2, 3)]),
    "long": pa.array([1, 2**63, 3], pa.uint64()),
    "ragged": pa.array([[1, 2], [1, 2], [1]], pa.list_(pa.int32())),
    "hole": pa.array([[1, 2], [1, None], [1, 3]], pa.list_(pa.int32())),
    "words": pa.array(["x", "y", "z"]),
}
for name, column in faults.items():
    write(f"fault-{name}", pa.table({"good": pa.array([1, 2, 3]), name: column}))
write("fault-empty", pa.table({"good": pa.array([], pa.float32())}))
