"""Bodies that follow ARM's published types and MLflow's messages, filled at random: every field there is gets its turn."""

from __future__ import annotations

import inspect
import random
from typing import Any

import msgspec

from tests.fuzz import words
from tests.support.arm_contract import READ_ONLY, contract
from zaffre.protocols.mlflow import requests

MESSAGES = {
    name.lower(): struct
    for name, struct in inspect.getmembers(requests, inspect.isclass)
    if issubclass(struct, msgspec.Struct)
}


def arm_body(rng: random.Random, kind: str) -> Any:
    """A body of that resource kind; {} where the types know none."""
    number = contract().body_of(kind)
    return {} if number is None else _arm(rng, number, 0)


def mlflow_body(rng: random.Random, operation: str) -> Any:
    """A body of the message that the operation's name suggests, else of any."""
    struct = MESSAGES.get(operation.lower()) or rng.choice(list(MESSAGES.values()))
    return _message(rng, msgspec.inspect.type_info(struct), 0)


def _arm(rng: random.Random, number: int, depth: int) -> Any:
    shape = contract().type(number)
    if shape == "any":
        return words.anything(rng)
    if shape == "str":
        return words.text(rng, ("x", "azureml:bare:1", "azureml://datastores/workspaceblobstore/paths/x"))
    if shape == "bool":
        return rng.random() < 0.5
    if shape == "int":
        return rng.choice((0, 1, 2, 5, 1000))
    if "pattern" in shape:
        return words.text(rng, ("fuzz-name",))
    if "is" in shape:
        return shape["is"]
    if "any of" in shape:
        return _arm(rng, rng.choice(shape["any of"]), depth)
    if "list" in shape:
        return [_arm(rng, shape["list"], depth + 1) for _ in range(rng.randrange(3))]
    fields = dict(shape["object"])
    made: dict[str, Any] = {}
    if "by" in shape:
        word = rng.choice(list(shape["cases"]))
        fields |= contract().type(shape["cases"][word])["object"]
        made[shape["by"]] = word
    for name, (inner, flags) in fields.items():
        wanted = rng.random() < (0.9 if flags & 1 else 0.6 / (1 + depth))
        if wanted and name not in made and not flags & READ_ONLY and name not in ("id", "name", "type", "apiVersion"):
            made[name] = rng.choice(words.COMMANDS) if name == "command" else _arm(rng, inner, depth + 1)
    more = shape.get("more")
    if more is not None and rng.random() < 0.5:
        made[words.text(rng, ("x", "y"))] = _arm(rng, more, depth + 1)
    return made


def _message(rng: random.Random, info: Any, depth: int) -> Any:
    match info:
        case msgspec.inspect.StructType():
            return {
                field.encode_name: _message(rng, field.type, depth + 1)
                for field in info.fields
                if field.required or rng.random() < 0.7
            }
        case msgspec.inspect.StrType():
            return words.text(rng, ("fuzz", "0", "loss"))
        case msgspec.inspect.IntType() | msgspec.inspect.FloatType():
            return rng.choice((0, 1, 2, 100))
        case msgspec.inspect.BoolType():
            return rng.random() < 0.5
        case msgspec.inspect.ListType():
            return [_message(rng, info.item_type, depth + 1) for _ in range(rng.randrange(3))]
        case msgspec.inspect.UnionType():
            return _message(rng, rng.choice(info.types), depth)
        case msgspec.inspect.DictType():
            return {words.text(rng, ("k",)): _message(rng, info.value_type, depth + 1)}
        case msgspec.inspect.NoneType():
            return None
    return words.anything(rng)
