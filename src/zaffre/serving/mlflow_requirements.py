"""The environment an MLflow model needs when it is deployed without code: its own requirements, and a server."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from zaffre.serving.errors import ModelUnreadable
from zaffre.serving.mlflow_model import model_folder, read_mapping

_SERVER = "azureml-inference-server-http>=1.0"
_NAME = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(\[[^\]]*\])?\s*([^;@#]*)(.*)", re.DOTALL)
_NEEDED = ("numpy", "pandas")
"""Used by the scoring script and by mlflow.pyfunc; mlflow-skinny does not bring them."""
_ADDITIONS_OF_MLFLOW = frozenset({"mlflow", "mlflow-skinny"})


def requirements_for(model_dir: str | Path) -> str:
    """The conda file (YAML) of an environment that serves the model at `model_dir` or in the one folder below it.

    The model's `conda.yaml` is kept as it is but for the pip packages, else the file is made of `python_env.yaml` and
    `requirements.txt`. Full mlflow becomes mlflow-skinny of the same version: the same modules without the tracking
    server, whose pins collide with the inference server's. Raises ModelUnreadable.
    """
    import yaml  # for models only: it would cost every start of the application 30 ms

    folder = model_folder(Path(model_dir))
    conda = _conda(folder) or _from_pip_files(folder)
    dependencies = [item for item in conda["dependencies"] if not isinstance(item, dict)]
    pip = [str(p) for item in conda["dependencies"] if isinstance(item, dict) for p in item.get("pip") or []]
    conda["dependencies"] = [*dependencies, {"pip": _complete(pip, dependencies, folder)}]
    if "pip" not in {_name_of(str(item)) for item in dependencies}:
        conda["dependencies"].insert(len(dependencies), "pip")
    return yaml.safe_dump(conda, sort_keys=False)


def _conda(folder: Path) -> dict[str, Any] | None:
    conda = read_mapping(folder / "conda.yaml")
    if conda is not None and not isinstance(conda.get("dependencies"), list):
        raise ModelUnreadable(f"{folder / 'conda.yaml'} has no list of dependencies; log the model again.")
    return conda


def _from_pip_files(folder: Path) -> dict[str, Any]:
    python_env = read_mapping(folder / "python_env.yaml") or {}
    python = python_env.get("python") or _python_of_model(folder)
    requirements = folder / "requirements.txt"
    pip: list[Any] = []
    if requirements.is_file():
        text = requirements.read_text(encoding="utf-8").replace("\\\n", " ")
        lines = (re.split(r"(?:^|\s)#", line)[0].strip() for line in text.splitlines())
        pip = [line for line in lines if line]
    elif not python_env:
        raise ModelUnreadable(
            f"The model at {folder} has no conda.yaml, requirements.txt or python_env.yaml, so its environment is not"
            " known. Give the deployment an environment, or log the model again with mlflow."
        )
    head = [f"python={python}"] if python else []
    return {"name": "mlflow-env", "channels": ["conda-forge"], "dependencies": [*head, "pip", {"pip": pip}]}


def _python_of_model(folder: Path) -> str | None:
    flavors = (read_mapping(folder / "MLmodel") or {}).get("flavors") or {}
    version = (flavors.get("python_function") or {}).get("python_version")
    return str(version) if version else None


def _complete(pip: list[str], conda: list[Any], folder: Path) -> list[str]:
    """The pip packages with mlflow as mlflow-skinny, and with what serving needs and nobody named."""
    packages = [_skinny(_placed(requirement, folder)) for requirement in pip]
    named = {_name_of(item) for item in packages} | {_name_of(str(item)) for item in conda}
    if named.isdisjoint(_ADDITIONS_OF_MLFLOW):
        version = (read_mapping(folder / "MLmodel") or {}).get("mlflow_version")
        packages.append(f"mlflow-skinny=={version}" if version else "mlflow-skinny")
    packages += [name for name in _NEEDED if name not in named]
    if "azureml-inference-server-http" not in named:
        packages.append(_SERVER)
    return list(dict.fromkeys(packages))


def _placed(requirement: str, folder: Path) -> str:
    """A line that names a file of the model (`-c constraints.txt`, `code/own.whl`) names it from anywhere."""
    option, _, name = requirement.rpartition(" ")
    return f"{option} {folder / name}".strip() if name and (folder / name).is_file() else requirement


def _skinny(requirement: str) -> str:
    match = _NAME.fullmatch(requirement)
    # extras name parts that only full mlflow has
    if match is None or match[1].lower() != "mlflow" or match[2] or match[4].startswith("@"):
        return requirement
    return f"mlflow-skinny{match[3].strip()}{match[4]}"


def _name_of(requirement: str) -> str:
    match = _NAME.fullmatch(requirement.rpartition("::")[2])
    return re.sub(r"[-_.]+", "-", match[1]).lower() if match else ""
