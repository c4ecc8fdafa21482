"""Write tests/contract/arm_contract.json: the shapes of every ARM body as data, from the published type file.

`python scripts/make_arm_contract.py ../shared/reference/arm-schema/2026-05-01.types.json`. Kept are names, types and flags; texts are not.
A type is one of
  "any" · "bool" · "int" · "str" · {"pattern": …} · {"is": word} · {"any of": [type number, …]} · {"list": type number}
  {"object": {property: [type number, flags]}, "more": type number or null}
  {"by": discriminator, "object": {…}, "cases": {word: type number}}
Flags: 1 required, 2 read-only, 4 write-only.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parent.parent / "tests" / "contract" / "arm_contract.json"
PROVIDER = "Microsoft.MachineLearningServices/"
SIMPLE = {"AnyType": "any", "BooleanType": "bool", "IntegerType": "int"}


def main(source: Path) -> None:
    types = json.loads(source.read_text())
    resources: dict[str, int] = {}
    actions: dict[str, int] = {}
    for entry in types:
        if entry["$type"] == "ResourceType":
            resources[_kind(entry["name"])] = _number(entry["body"])
        elif entry["$type"] == "ResourceFunctionType":
            actions[f"{_kind(entry['resourceType'])}/{entry['name']}"] = _number(entry["output"])
    contract = {"source": source.name, "resources": resources, "actions": actions, "types": [_type(e) for e in types]}
    text = json.dumps(contract, separators=(",", ":"))
    TARGET.write_text(text.replace("},{", "},\n{") + "\n")
    print(f"{TARGET}: {len(resources)} resources, {len(actions)} actions")


def _kind(name: str) -> str:
    return str(name).removeprefix(PROVIDER).partition("@")[0]


def _number(reference: dict[str, str]) -> int:
    return int(reference["$ref"].rpartition("/")[2])


def _properties(found: dict[str, Any]) -> dict[str, list[int]]:
    return {name: [_number(one["type"]), one["flags"]] for name, one in found.items()}


def _type(entry: dict[str, Any]) -> Any:
    match entry["$type"]:
        case "StringType":
            return {"pattern": entry["pattern"]} if "pattern" in entry else "str"
        case "StringLiteralType":
            return {"is": entry["value"]}
        case "UnionType":
            return {"any of": [_number(one) for one in entry["elements"]]}
        case "ArrayType":
            return {"list": _number(entry["itemType"])}
        case "ObjectType":
            more = entry.get("additionalProperties")
            return {"object": _properties(entry["properties"]), "more": None if more is None else _number(more)}
        case "DiscriminatedObjectType":
            cases = {word: _number(one) for word, one in entry["elements"].items()}
            return {"by": entry["discriminator"], "object": _properties(entry["baseProperties"]), "cases": cases}
        case simple if simple in SIMPLE:
            return SIMPLE[simple]
    return None


if __name__ == "__main__":
    main(Path(sys.argv[1]))
