"""The clients that are installed beside this command: whether these versions are known to work with a server of ours."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Callable

from zaffre.cli.checks.finding import Finding, note

Version = Callable[[str], str | None]

# The first and the last version that the tests have driven, as (major, minor).
TESTED = {
    "azure-ai-ml": ((1, 28), (1, 35)),
    "mlflow": ((2, 16), (3, 99)),
    "mlflow-skinny": ((2, 16), (3, 99)),
    "azureml-mlflow": ((1, 57), (1, 99)),
}


def packages(version: Version | None = None) -> list[Finding]:
    """Notes only: another environment may hold the programs that are meant."""
    look = version or _installed
    found = []
    for name, (first, last) in TESTED.items():
        text = look(name)
        numbers = _numbers(text or "")
        if numbers is None or first <= numbers <= last:
            continue
        words = "older" if numbers < first else "newer"
        bound = ".".join(map(str, first if numbers < first else last))
        found.append(
            note(
                f"{name} {text} is {words} than {bound}, which is the {'oldest' if words == 'older' else 'newest'} tested."
            )
        )
    identity = _numbers(look("azure-identity") or "")
    if look("azureml-dataprep") and identity is not None and identity > (1, 17):
        # mltable brings azureml-dataprep, which pins azure-identity<=1.17.0
        text = "azureml-dataprep (of mltable and azureml-fsspec) is made for azure-identity 1.17 or older; a newer one is installed."
        found.append(note(text, "pip install 'azure-identity<=1.17.0' if reading data fails."))
    return found


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, int] | None:
    match = re.match(r"(\d+)\.(\d+)", version)
    return (int(match[1]), int(match[2])) if match else None
