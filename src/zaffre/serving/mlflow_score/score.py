"""The scoring script of MLflow models deployed without code, run by azureml-inference-server-http.

Takes Azure ML's request for such models, `{"input_data": ..., "params": {...}}`, and answers the predictions as JSON.
It is copied into the deployment's folder and runs in the model's environment: nothing here may need zaffre or more
than Python 3.9, and mlflow, numpy and pandas are all it has.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import json
import math
import os
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd  # type: ignore[import-untyped,unused-ignore]
from azureml_inference_server_http.api.aml_response import (  # type: ignore[import-not-found,unused-ignore]
    AMLResponse,
)
from mlflow.exceptions import MlflowException
from mlflow.types import DataType

# Their models take text and messages as they come, not arrays of them
_LANGUAGE_FLAVORS = {
    "transformers",
    "langchain",
    "openai",
    "llama_index",
    "sentence_transformers",
    "dspy",
    "promptflow",
}
_CALLER_ERRORS = {"INVALID_PARAMETER_VALUE", "BAD_REQUEST", "INVALID_REQUEST"}

_model: Any = None


class BadRequest(Exception):
    """The caller's mistake; the message says what was expected."""


def init() -> None:
    """Load the model, once for each worker."""
    global _model
    _model = mlflow.pyfunc.load_model(str(model_folder(Path(os.environ["AZUREML_MODEL_DIR"]))))


def run(raw: str) -> Any:
    """Score one request body. The server turns what is returned into JSON, and an exception into a 500."""
    try:
        data, params = read(raw)
        return plain(_model.predict(as_input(data, _model.metadata), **({"params": params} if params else {})))
    except BadRequest as error:
        return AMLResponse({"message": str(error)}, 400, json_str=True)
    except MlflowException as error:
        if error.error_code not in _CALLER_ERRORS:
            raise
        return AMLResponse({"message": f"The model does not accept this input. {error.message}"}, 400, json_str=True)


def model_folder(root: Path) -> Path:
    """The folder that holds `MLmodel`: `root` itself or the one folder in it that does."""
    if (root / "MLmodel").is_file():
        return root
    found = [path.parent for path in sorted(root.glob("*/MLmodel"))]
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise FileNotFoundError(
            f"{root} should hold one MLflow model, but of its folders with an MLmodel file: {names}."
        )
    return found[0]


def read(raw: str) -> tuple[Any, dict[str, Any]]:
    """`input_data` and `params` of a request body."""
    try:
        body = json.loads(raw)
    except ValueError as error:
        raise BadRequest(f"The body is not JSON: {error}") from None
    if not isinstance(body, dict) or "input_data" not in body:
        raise BadRequest('The body must be a JSON object with "input_data", and may have "params".')
    params = body.get("params") or {}
    if not isinstance(params, dict):
        raise BadRequest(f'"params" must be an object, not {_kind(params)}.')
    return body["input_data"], params


def as_input(data: Any, metadata: Any) -> Any:
    """What the model's predict() takes for `input_data`: a frame, an array, named arrays, or the data as it is."""
    schema = metadata.get_input_schema()
    as_it_is = not _LANGUAGE_FLAVORS.isdisjoint(metadata.flavors) or _nested(schema)
    if isinstance(data, str):
        try:
            data = json.loads(data)
        except ValueError:
            if as_it_is:
                return data
            raise BadRequest('"input_data" is text but not JSON; this model takes a table or an array.') from None
    if isinstance(data, dict) and "columns" in data:
        return _typed_frame(_split_frame(data), schema)
    if as_it_is and isinstance(data, (list, dict, str)):
        return data
    if isinstance(data, dict):
        return {name: _array(value, _tensor_type(schema, name), name) for name, value in data.items()}
    if isinstance(data, list):
        return _from_list(data, schema)
    raise BadRequest(
        '"input_data" must be a table {"columns": [...], "index": [...], "data": [[...]]}, a list,'
        f" or an object of named arrays, not {_kind(data)}."
    )


def plain(value: Any) -> Any:
    """Predictions as what JSON knows: frames as a list of records, arrays as lists, what is not a number as null."""
    if isinstance(value, pd.DataFrame):
        columns = {str(name): plain(value.iloc[:, i]) for i, name in enumerate(value.columns)}
        return [dict(zip(columns, row)) for row in zip(*columns.values())]  # noqa: B905  (strict= needs 3.10)
    if isinstance(value, (pd.Series, pd.Index)):
        return [plain(item) for item in value.tolist()]
    if isinstance(value, np.ndarray):
        if value.dtype.kind in "biuUS" or (value.dtype.kind == "f" and bool(np.isfinite(value).all())):
            value = value.tolist()
            return plain(value) if isinstance(value, bytes) else value
        return plain(value.tolist()) if value.dtype.kind != "M" else plain(np.datetime_as_string(value).tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(item) for item in value]
    if value is pd.NaT or value is pd.NA:
        return None
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if hasattr(value, "model_dump"):  # pydantic, which chat models answer with
        return plain(value.model_dump())
    if hasattr(value, "to_dict"):
        return plain(value.to_dict())
    if hasattr(value, "toarray"):  # scipy's sparse matrices
        return plain(value.toarray())
    return str(value)


def _split_frame(data: dict[str, Any]) -> pd.DataFrame:
    columns, rows, index = data["columns"], data.get("data"), data.get("index")
    if not isinstance(columns, list) or not isinstance(rows, list):
        raise BadRequest('A table needs "columns" (a list of names) and "data" (a list of rows).')
    for number, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != len(columns):
            held = f"{len(row)} values" if isinstance(row, list) else _kind(row)
            raise BadRequest(
                f'Row {number} of "data" must be a list of {len(columns)} values, one a column; it is {held}.'
            )
    if index is not None and (not isinstance(index, list) or len(index) != len(rows)):
        raise BadRequest(f'"index" must be a list with one entry for each of the {len(rows)} rows.')
    return pd.DataFrame(rows, columns=columns, index=index)


def _from_list(data: list[Any], schema: Any) -> Any:
    if data and all(isinstance(item, dict) for item in data):
        return _typed_frame(pd.DataFrame(data), schema)
    if schema is not None and not schema.is_tensor_spec() and schema.has_input_names():
        # a column signature wants names; rows without them are taken in its order
        names = schema.input_names()
        rows = data if all(isinstance(item, list) for item in data) else [[item] for item in data]
        return _typed_frame(_split_frame({"columns": names, "data": rows}), schema)
    return _array(data, _tensor_type(schema, None), "input_data")


def _typed_frame(frame: pd.DataFrame, schema: Any) -> pd.DataFrame:
    """The frame with what JSON cannot say: bytes (sent as base64) and the number type of a tensor signature."""
    if schema is None:
        return frame
    if schema.is_tensor_spec():
        dtype = _tensor_type(schema, None)
        return frame if dtype is None else _cast(frame, dtype, "the table")
    for column in schema.inputs:
        if column.type == DataType.binary and column.name in frame:
            try:
                frame[column.name] = [base64.b64decode(item, validate=True) for item in frame[column.name]]
            except (binascii.Error, TypeError, ValueError):
                raise BadRequest(f"Column {column.name!r} holds bytes: send them as base64 text.") from None
    return frame


def _array(value: Any, dtype: Any, name: str) -> Any:
    try:
        array = np.array(value)
    except ValueError:
        raise BadRequest(f"{name!r} is not an array: its lists differ in length.") from None
    return array if dtype is None else _cast(array, dtype, repr(name))


def _cast(value: Any, dtype: Any, what: str) -> Any:
    try:
        return value.astype(dtype)
    except (TypeError, ValueError) as error:
        raise BadRequest(f"{what} cannot be read as {dtype}: {error}") from None


def _tensor_type(schema: Any, name: str | None) -> Any:
    """The element type of a tensor signature's input of that name, or of its only one."""
    if schema is None or not schema.is_tensor_spec():
        return None
    inputs = schema.inputs
    found = [spec for spec in inputs if spec.name == name] or (list(inputs) if len(inputs) == 1 else [])
    return found[0].type if found else None


def _nested(schema: Any) -> bool:
    """Whether the signature has lists or objects inside, as chat models have: a frame would only be in the way."""
    return (
        schema is not None
        and not schema.is_tensor_spec()
        and any(not isinstance(s.type, DataType) for s in schema.inputs)
    )


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
