"""An MLflow model as files: where it lies in what was registered, and what its small files say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from zaffre.serving.errors import ModelUnreadable


def model_folder(root: Path) -> Path:
    """The folder that holds `MLmodel`: `root` itself or the one folder in it that does. Raises ModelUnreadable."""
    if (root / "MLmodel").is_file():
        return root
    found = [path.parent for path in sorted(root.glob("*/MLmodel"))]
    if len(found) != 1:
        held = f"the folders {', '.join(path.name for path in found)} with one each" if found else "none"
        raise ModelUnreadable(
            f"A model deployed without a scoring script must be an MLflow model, but {root} should hold one MLmodel"
            f" file, or one folder with it, and holds {held}. Register the model with type mlflow_model, or give a"
            " code_configuration."
        )
    return found[0]


def read_mapping(path: Path) -> dict[str, Any] | None:
    """The mapping in a YAML file; None where there is no such file. Raises ModelUnreadable."""
    if not path.is_file():
        return None
    import yaml  # for models only: it would cost every start of the application 30 ms

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ModelUnreadable(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise ModelUnreadable(f"{path} should hold a mapping.")
    return content
