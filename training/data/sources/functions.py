"""Tables that Python makes: `module:function` of the person's own, and the sets bundled with scikit-learn."""

import importlib
import inspect
import re
import sys
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from training.data.sources.draft import Draft, How
from training.data.sources.words import explained, hidden, listed, one_line, refuse_repeated
from training.errors import DataError

SKLEARN_SETS = ("breast_cancer", "diabetes", "digits", "iris", "wine")
RETURNS = "a pyarrow Table or RecordBatchReader, a pandas DataFrame, or a ray.data.Dataset"
_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def is_function(source: str) -> bool:
    """Whether a source is a function's import path."""
    return _FUNCTION.fullmatch(source) is not None and not is_sklearn(source)


def is_sklearn(source: str) -> bool:
    """Whether a source is a set bundled with scikit-learn."""
    return source.startswith("sklearn:")


def read_sklearn(how: How) -> Draft:
    """A bundled set. Raises DataError for one that does not exist."""
    name = how.uri.removeprefix("sklearn:")
    if name not in SKLEARN_SETS:
        raise DataError(f"there is no bundled set sklearn:{name}", f"there are: {', '.join(SKLEARN_SETS)}")
    from sklearn import datasets  # noqa: PLC0415  costs a second that file sources need not pay

    bunch = getattr(datasets, f"load_{name}")()
    columns = {
        str(feature).replace(" ", "_").replace("(cm)", "cm"): bunch.data[:, i]
        for i, feature in enumerate(bunch.feature_names)
    }
    labels = bunch.get("target_names")
    is_named = labels is not None and labels.dtype.kind in "US"
    columns["target"] = labels[bunch.target] if is_named else bunch.target
    return Draft.whole(pa.table(columns), how.uri)


def read_function(how: How) -> Draft:
    """What a function returns, called with `args`.

    Raises:
        DataError: it cannot be imported, does not take the arguments, raises, or returns something else.
    """
    function = _load(how)
    try:
        inspect.signature(function).bind(**how.shape.args)
    except TypeError as error:
        raise DataError(
            f"{how.key('args')} do not fit {how.uri}: {error}", f"it takes {inspect.signature(function)}"
        ) from None
    try:
        result = function(**how.shape.args)
    except Exception as error:
        raise _raised(error, how) from (None if how.hides else error)
    with explained(
        f"what {how.uri} returns cannot be read",
        f"it must be {RETURNS}",
        (pa.ArrowException, ValueError, TypeError),
        how.hides,
    ):
        table, untyped = _as_table(result, how)
    refuse_repeated(table.column_names, how.uri, "give the columns distinct names in the function")
    if table.num_rows == 0 or not table.column_names:
        raise DataError(f"{how.uri} returns a table without rows", "look into what it reads")
    return Draft.whole(table, how.uri, untyped)


def _load(how: How) -> Callable[..., Any]:
    module_name, _, name = how.uri.partition(":")
    for folder in (str(how.base), how.code_path):
        if folder and folder not in sys.path:
            sys.path.insert(0, folder)
    try:
        importlib.invalidate_caches()  # the file may be younger than the process
        module = importlib.import_module(module_name)
    except Exception as error:
        raise DataError(
            f"{how.uri} cannot be imported: {hidden(error) if how.hides else one_line(error)}",
            f"put {module_name.replace('.', '/')}.py beside the experiment file ({how.code_path or how.base})"
            " or install it",
        ) from (None if how.hides else error)
    found = getattr(module, name, None)
    if not callable(found):
        functions = [key for key, value in vars(module).items() if inspect.isfunction(value)]
        raise DataError(f"{module_name} has no function {name}", f"it has: {listed(functions) or 'no function'}")
    return found


def _raised(error: Exception, how: How) -> DataError:
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    said = hidden(error) if how.hides else f"{type(error).__name__}: {one_line(error)}"
    return DataError(f"{how.uri} raised {said}{place}", f"called with {how.key('args')}: {sorted(how.shape.args)}")


def _as_table(result: Any, how: How) -> tuple[pa.Table, frozenset[str]]:
    """The table, and columns of mixed Python values that became text."""
    if isinstance(result, pa.Table):
        return result, frozenset()
    if isinstance(result, pa.RecordBatchReader):
        return result.read_all(), frozenset()
    if (pandas := sys.modules.get("pandas")) is not None and isinstance(result, pandas.DataFrame):
        return _from_pandas(result)
    if (ray_data := sys.modules.get("ray.data")) is not None and isinstance(result, ray_data.Dataset):
        return _from_ray(result), frozenset()
    if hasattr(result, "__arrow_c_stream__"):
        return pa.table(result), frozenset()
    raise DataError(f"{how.uri} returns a {type(result).__name__}", f"it must return {RETURNS}")


def _from_pandas(frame: Any) -> tuple[pa.Table, frozenset[str]]:
    refuse_repeated(map(str, frame.columns), "the DataFrame", "give the columns distinct names in the function")
    columns: dict[str, pa.Array] = {}
    untyped: set[str] = set()
    for i, name in enumerate(map(str, frame.columns)):
        series = frame.iloc[:, i]
        try:
            columns[name] = pa.Array.from_pandas(series)
        except (pa.ArrowException, OverflowError):
            missing = series.isna().tolist()
            texts = [None if lacks else str(value) for value, lacks in zip(series.tolist(), missing, strict=True)]
            columns[name] = pa.array(texts, pa.string())
            untyped.add(name)
    return pa.table(columns), frozenset(untyped)


def _from_ray(dataset: Any) -> pa.Table:
    import ray  # noqa: PLC0415  the function has loaded it already

    tables = [table for table in ray.get(dataset.to_arrow_refs()) if table.num_rows]
    table = pa.concat_tables(tables, promote_options="permissive") if tables else pa.table({})
    for i, field in enumerate(table.schema):
        if isinstance(field.type, pa.ExtensionType) and type(field.type).__module__.startswith("ray."):
            table = table.set_column(i, field.name, _plain_tensors(table.column(i)))
    return table


def _plain_tensors(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Ray's tensors as Arrow's own, which can be read without Ray."""
    arrays = [np.ascontiguousarray(chunk.to_numpy(zero_copy_only=False)) for chunk in column.chunks]
    return pa.chunked_array([pa.FixedShapeTensorArray.from_numpy_ndarray(array) for array in arrays])
