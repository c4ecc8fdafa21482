"""Assets by whatever azure-ai-ml runs this: `sdk_assets.py NAME` prints what it found as JSON behind FOUND."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from azure.ai.ml import MLClient, load_component
from azure.ai.ml.entities import BuildContext, Data, Environment, Model
from azure.identity import DefaultAzureCredential

COMPONENT = """type: command
name: {name}
inputs: {{data: {{type: uri_folder}}}}
outputs: {{out: {{type: uri_folder}}}}
code: ./code
environment: {{image: "python:3.11"}}
command: python main.py ${{{{inputs.data}}}} ${{{{outputs.out}}}}
"""


def main(name: str) -> dict[str, Any]:
    workspace = (os.environ[key] for key in ("AZURE_SUBSCRIPTION_ID", "AZURE_RESOURCE_GROUP", "AZUREML_WORKSPACE"))
    ml = MLClient(DefaultAzureCredential(), *workspace)
    folder = Path(tempfile.mkdtemp())
    (folder / "code").mkdir()
    (folder / "code" / "main.py").write_text(f"print('{name}')")
    (folder / "context").mkdir()
    (folder / "context" / "Dockerfile").write_text("FROM python:3.11\n")
    return {
        "component": component(ml, folder, name),
        "archived": archived(ml, folder, name),
        "built": built(ml, folder, name),
    }


def component(ml: MLClient, folder: Path, name: str) -> list[Any]:
    path = folder / "component.yml"
    path.write_text(COMPONENT.format(name=name.replace("-", "_")))
    first, second = (ml.components.create_or_update(load_component(path)) for _ in range(2))
    default = ml.components.get(first.name)
    anonymous = [ml.components.create_or_update(load_component(path), is_anonymous=True).id for _ in range(2)]
    ml.components.download(first.name, folder / "down", version=first.version)
    return [
        first.version,
        len(second.version),
        default.version == second.version,
        default.id.rpartition("/components/")[2],
        anonymous[0] == anonymous[1],
        sorted(found.name for found in (folder / "down").rglob("main.py")),
    ]


def archived(ml: MLClient, folder: Path, name: str) -> list[Any]:
    found = []
    for operations, make in (
        (ml.data, lambda path: Data(name=name, path=path, type="uri_folder")),
        (ml.models, lambda path: Model(name=name, path=path, stage="Production")),
    ):
        for part in ("code", "context"):
            operations.create_or_update(make(str(folder / part)))
        operations.archive(name, version="2")
        found.append([operations.get(name, label="latest").version, [one.version for one in operations.list(name)]])
        operations.restore(name, version="2")
        found.append([one.version for one in operations.list(name)])
    found.append([model.version for model in ml.models.list(name, stage="Production")])
    return found


def built(ml: MLClient, folder: Path, name: str) -> list[Any]:
    made = [
        ml.environments.create_or_update(Environment(name=name, build=BuildContext(path=str(folder / "context"))))
        for _ in range(2)
    ]
    return [made[0].version, made[1].version, ".blob.core.windows.net/azureml-blobstore-" in made[0].build.path]


if __name__ == "__main__":
    print("FOUND", json.dumps(main(sys.argv[1])))
