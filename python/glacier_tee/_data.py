"""NumPy arrays, pandas frames and files, as what goes into an enclave."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import numpy as np

from .errors import DataError

if TYPE_CHECKING:
    import pandas as pd

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Given = tuple[str, str, list[int], Array]
"""Name, type, shape, and the elements as bytes: what the binding takes."""
Rows: TypeAlias = Union[str, PathLike[str], "pd.DataFrame", Array, Mapping[str, Any]]
"""Rows to ask about."""

_DTYPES = ("float32", "float64", "int32", "int64", "int8", "uint8", "bool")
_TABLES = (".csv", ".npy", ".npz")


def is_frame(value: object) -> bool:
    """Whether it is a pandas frame. Asked without importing pandas."""
    return any(
        kind.__module__.partition(".")[0] == "pandas" and kind.__name__ == "DataFrame" for kind in type(value).__mro__
    )


def array(name: str, value: object) -> Array:
    """The array in C order and little-endian: itself where it is that already, else a copy."""
    what = f"array `{name}`" if name else "the array"
    if isinstance(value, np.ma.MaskedArray):
        raise DataError(f"{what} is masked", help="fill the gaps with x.filled(...), or drop those rows")
    given = np.asarray(value)
    if given.dtype.name not in _DTYPES:
        raise DataError(
            f"{what} is of {given.dtype}, and models take {', '.join(_DTYPES)}",
            help="convert it with x.astype(numpy.float32)",
        )
    if given.ndim == 0:
        raise DataError(f"{what} is a single number", help="give it a dimension for rows: numpy.array([x])")
    return np.ascontiguousarray(given, dtype=given.dtype.newbyteorder("<"))


def give(name: str, value: object) -> Given:
    """An array as the binding takes it: the same memory, seen as bytes."""
    given = array(name, value)
    return name, given.dtype.name, list(given.shape), given.reshape(-1).view(np.uint8)


def take(taken: Sequence[Given]) -> dict[str, Array]:
    """Arrays over the memory that the binding gave."""
    views = {}
    for index, (name, dtype, shape, data) in enumerate(taken):
        views[name or f"output_{index}"] = data.view(np.dtype(dtype).newbyteorder("<")).reshape(shape)
    return views


def arrays(rows: Rows, features: Sequence[str]) -> list[Given] | str:
    """Rows for a served model, whose columns are found by their names where both sides have names. The path of a table
    stays a path: the binding reads it as the command line does."""
    if is_frame(rows):
        return [give("", matrix(rows, features))]
    if isinstance(rows, (str, PathLike)):
        return _file_arrays(Path(fspath(rows)))
    if isinstance(rows, Mapping):
        if not rows:
            raise DataError("there are no arrays", help="name at least one input of the model")
        return [give(str(name), value) for name, value in rows.items()]
    return [give("", rows)]


def matrix(frame: Any, features: Sequence[str]) -> Array:
    """A frame's columns as a matrix: those that the model names, in its order, else all. Of 64-bit integers where all
    are whole, else of 64-bit floats: the model's own type is known where the rows go out, and makes of them what it
    can hold."""
    if features:
        names = [str(name) for name in frame.columns]
        for feature in features:
            found = names.count(feature)
            if found != 1:
                problem = (
                    f"the frame has no column `{feature}`"
                    if not found
                    else f"the frame has the column `{feature}` twice"
                )
                raise DataError(problem, help="the model wants " + ", ".join(features))
        frame = frame.iloc[:, [names.index(feature) for feature in features]]
    _numeric(frame, ())
    columns = [frame.iloc[:, place] for place in range(len(frame.columns))]
    whole = all(column.dtype.kind in "biu" and int(column.max()) < 2**63 for column in columns)
    values: Array = frame.to_numpy(dtype=np.int64 if whole else np.float64)
    return values


def bytes_of(rows: Rows) -> str | bytes:
    """Rows for a job: a path stays a path, everything else becomes a file that only memory has seen."""
    if is_frame(rows):
        return table(rows, ())
    if isinstance(rows, (str, PathLike)):
        return _path(fspath(rows))
    out = io.BytesIO()
    if isinstance(rows, Mapping):
        if not rows:
            raise DataError("there are no arrays", help="name at least one input of the model")
        members: dict[str, Any] = {str(name): array(str(name), value) for name, value in rows.items()}
        np.savez(out, **members)
    else:
        np.save(out, array("", rows))
    return out.getvalue()


def table(frame: Any, targets: Sequence[str]) -> bytes:
    """A frame as CSV with a header. Target columns may hold words, all others hold numbers."""
    _numeric(frame, targets)
    frame = frame.copy(deep=False)
    frame.columns = [str(name) for name in frame.columns]
    flags = [name for name in frame.columns if str(frame.dtypes[name]) in ("bool", "boolean") and name not in targets]
    if flags:
        frame = frame.astype(dict.fromkeys(flags, "int64"))
    text: str = frame.to_csv(index=False)
    return text.encode()


def _numeric(frame: Any, targets: Sequence[str]) -> None:
    if not len(frame):
        raise DataError("the frame has no rows", help="pass at least one")
    for place, name in enumerate(frame.columns):
        column = frame.iloc[:, place]
        if (missing := int(column.isna().sum())) > 0:
            raise DataError(
                f"column `{name}` lacks {missing} values", help="fill them with frame.fillna(...), or drop those rows"
            )
        if str(name) not in targets and column.dtype.kind not in "biuf":
            raise DataError(
                f"column `{name}` is of {column.dtype}, and a model computes with numbers",
                help="drop the column, or give each of its categories one of its own with pandas.get_dummies",
            )


def _path(text: str) -> str:
    if Path(text).suffix.lower() in (".parquet", ".arrow", ".feather"):
        raise DataError(f"{text} is no format that an enclave reads", help="pass pandas.read_parquet(...), a frame")
    if not Path(text).is_file():
        raise DataError(f"there is no file {text}", help="check the path")
    return text


def _file_arrays(path: Path) -> list[Given] | str:
    suffix = path.suffix.lower()
    if suffix not in _TABLES:
        raise DataError(f"{path}: no format is known by this name", help="name a file that ends in .csv, .npy or .npz")
    found = _path(str(path))
    if suffix == ".npy":
        return [give("", np.load(path, allow_pickle=False))]
    if suffix == ".npz":
        with np.load(path, allow_pickle=False) as members:
            return [give(name, members[name]) for name in members.files]
    return found


def rows_of(data: object, target: Sequence[str]) -> str | bytes:
    """What is trained on: a path, a frame, arrays by name, or a matrix with its answers."""
    if isinstance(data, tuple):
        if len(data) != 2 or len(target) != 1:
            raise DataError("a tuple is (X, y): rows and their answers", help="pass a frame for anything else")
        return _pairs(data[0], data[1], target[0])
    if is_frame(data):
        columns = [str(name) for name in getattr(data, "columns", ())]
        # A place names its column: what stands there may be words.
        named = [columns[int(name)] if name.isdigit() and int(name) < len(columns) else name for name in target]
        for name in named:
            _place(columns, name)
        return table(data, named)
    if isinstance(data, (str, PathLike)):
        return _path(fspath(data))
    if isinstance(data, Mapping):
        return bytes_of(data)
    raise DataError(
        f"{type(data).__name__} is nothing to train on", help="pass a frame, (X, y), arrays by name, or a path"
    )


def _pairs(rows: Any, answers: Any, target: str) -> bytes:
    if is_frame(rows):
        _free(target, [str(name) for name in rows.columns])
        return table(rows.assign(**{target: np.asarray(answers)}), [target])
    values, wanted = array("X", rows), np.asarray(answers)
    if values.ndim != 2 or wanted.shape != values.shape[:1]:
        raise DataError(
            f"X is {values.shape} and y is {wanted.shape}, and they must be (rows, columns) and (rows,)",
            help="pass arrays of another rank by name: {'image': X, 'label': y}",
        )
    names = [f"x{column}" for column in range(values.shape[1])]
    _free(target, names)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*names, target])
    if values.dtype == np.bool_:
        values = values.astype(np.int8)
    writer.writerows([*row, answer] for row, answer in zip(values.tolist(), wanted.tolist(), strict=True))
    return out.getvalue().encode()


def _free(target: str, names: Sequence[str]) -> None:
    """The answers take no column's place."""
    if target in names:
        raise DataError(
            f"X has a column `{target}`, and y would be called that too",
            help="rename the column, or name the answers otherwise: target=",
        )


# Whole numbers above this many different ones are numbers, not names of classes.
_MAX_CLASSES = 64


def look(data: str | bytes, target: Sequence[str | int]) -> tuple[list[str], list[str] | None]:
    """Columns of a table that are no targets, and the names of its classes; none where the answers are numbers."""
    if (isinstance(data, str) and not data.lower().endswith(".csv")) or (isinstance(data, bytes) and data[:2] == b"PK"):
        raise DataError(
            "an initial model is made for a table only", help="bring a model of your own: model=PATH or bytes"
        )
    with (
        Path(data).open(newline="", encoding="utf-8-sig") if isinstance(data, str) else io.StringIO(data.decode())
    ) as stream:
        reader = csv.reader(stream)
        header = [name.strip() for name in next(reader, [])]
        places = [_place(header, name) for name in target]
        if not places:
            raise DataError(
                "which column has the wanted answers?", help="name it: target=, one of " + ", ".join(header)
            )
        answers = {row[places[0]].strip() for row in reader if row}
    features = [name for place, name in enumerate(header) if place not in places]
    if len(places) > 1 or not answers:
        return features, None
    numbers = all(_is(float, answer) for answer in answers)
    names = all(_is(int, answer) for answer in answers) and len(answers) <= _MAX_CLASSES
    return features, None if numbers and not names else sorted(answers)


def _place(header: Sequence[str], name: str | int) -> int:
    if isinstance(name, int) and 0 <= name < len(header):
        return name
    if isinstance(name, str) and name in header:
        return header.index(name)
    raise DataError(f"the data has no column {name!r}", help="the columns are " + ", ".join(header))


def _is(kind: type[float] | type[int], text: str) -> bool:
    try:
        kind(text)
    except ValueError:
        return False
    return True
