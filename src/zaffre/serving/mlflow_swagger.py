"""The OpenAPI documents of an MLflow model deployed without code, made from its signature and input example.

The inference server answers `GET /swagger.json` with the files of these names beside the scoring script.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from zaffre.serving.mlflow_model import read_mapping

_TYPES: dict[str, dict[str, Any]] = {
    "boolean": {"type": "boolean"},
    "integer": {"type": "integer", "format": "int32"},
    "long": {"type": "integer", "format": "int64"},
    "float": {"type": "number", "format": "float"},
    "double": {"type": "number", "format": "double"},
    "string": {"type": "string"},
    "binary": {"type": "string", "format": "byte"},
    "datetime": {"type": "string", "format": "date-time"},
}


def documents(model: Path, service: str) -> dict[str, str]:
    """File name to JSON text: OpenAPI 2.0 (`swagger.json`) and 3.0 (`swagger3.json`) of the model in `model`."""
    description = read_mapping(model / "MLmodel") or {}
    signature = description.get("signature") or {}
    body = _body(_specs(signature.get("inputs")), _specs(signature.get("params")))
    if (example := _example(model, description)) is not None:
        body["example"] = example
    info = {"title": service, "version": "1.0", "description": f"Scores the MLflow model of {service}."}
    json_body = {"application/json": {"schema": body}}
    answer = {"description": "The predictions; a table is a list of records"}
    two = {
        "swagger": "2.0",
        "info": info,
        "consumes": ["application/json"],
        "produces": ["application/json"],
        "paths": _paths({"parameters": [{"name": "body", "in": "body", "required": True, "schema": body}]}, answer),
    }
    three = {
        "openapi": "3.0.3",
        "info": info,
        "paths": _paths({"requestBody": {"required": True, "content": json_body}}, answer),
    }
    return {"swagger.json": json.dumps(two), "swagger3.json": json.dumps(three)}


def _paths(request: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    failures = {"400": {"description": "The input is malformed"}, "500": {"description": "The model failed"}}
    health = {"operationId": "health", "responses": {"200": {"description": "Healthy"}}}
    score = {"operationId": "score", **request, "responses": {"200": answer, **failures}}
    return {"/": {"get": health}, "/score": {"post": score}}


def _body(inputs: list[dict[str, Any]], params: list[dict[str, Any]]) -> dict[str, Any]:
    properties = {"input_data": _input(inputs)}
    if params:
        properties["params"] = {
            "type": "object",
            "properties": {p["name"]: {**_column(p), "default": p.get("default")} for p in params},
        }
    return {"type": "object", "required": ["input_data"], "properties": properties}


def _input(inputs: list[dict[str, Any]]) -> dict[str, Any]:
    named = all("name" in spec for spec in inputs)
    if not inputs:
        return {"description": 'A table {"columns", "index", "data"}, a list, or an object of named arrays'}
    if inputs[0].get("type") == "tensor":
        if named:
            return {"type": "object", "properties": {spec["name"]: _tensor(spec) for spec in inputs}}
        return _tensor(inputs[0])
    if not named:
        return {"type": "array", "items": _column(inputs[0])}
    names = ", ".join(f"{spec['name']} ({spec['type']})" for spec in inputs)
    return {
        "type": "object",
        "description": f"A table with the columns {names}",
        "required": ["columns", "data"],
        "properties": {
            "columns": {"type": "array", "items": {"type": "string", "enum": [spec["name"] for spec in inputs]}},
            "index": {"type": "array", "items": {"type": "integer"}},
            "data": {"type": "array", "items": {"type": "array", "items": {}}},
        },
    }


def _tensor(spec: dict[str, Any]) -> dict[str, Any]:
    tensor = spec.get("tensor-spec") or {}
    kind = str(tensor.get("dtype", ""))
    number = "integer" if kind.startswith(("int", "uint")) else "boolean" if kind == "bool" else "number"
    schema: dict[str, Any] = {"type": "string" if kind.startswith(("str", "object")) else number}
    for size in reversed(tensor.get("shape") or []):
        schema = {"type": "array", "items": schema, **({"minItems": size, "maxItems": size} if size >= 0 else {})}
    return schema


def _column(spec: dict[str, Any]) -> dict[str, Any]:
    kind = spec.get("type")
    if kind == "array":
        return {"type": "array", "items": _column(spec.get("items") or {})}
    if kind == "map":
        return {"type": "object", "additionalProperties": _column(spec.get("values") or {})}
    if kind == "object":
        return {"type": "object", "properties": {n: _column(s) for n, s in (spec.get("properties") or {}).items()}}
    return dict(_TYPES.get(str(kind), {}))


def _specs(text: str | None) -> list[dict[str, Any]]:
    return json.loads(text) if text else []


def _example(model: Path, description: dict[str, Any]) -> dict[str, Any] | None:
    """The example saved with the model, in the form of a request, where its form is one Azure ML takes."""
    saved = description.get("saved_input_example_info") or {}
    path = model / str(saved.get("artifact_path", ""))
    if not path.is_file():
        return None
    content = json.loads(path.read_text(encoding="utf-8"))
    match saved.get("type"), saved.get("pandas_orient"):
        case "dataframe", "split":
            return {"input_data": content}
        case "ndarray", _:
            return {"input_data": content.get("inputs", content) if isinstance(content, dict) else content}
        case "json_object", _:
            return {"input_data": content}
    return None
