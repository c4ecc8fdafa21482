"""Which operations real clients were answered 2xx: what docs/coverage.md calls tested. Off unless a test asks for it."""

from __future__ import annotations

from pathlib import Path

CLIENTS = (
    ("azsdk-python-storage-blob", "azure-storage-blob"),
    ("azsdk-python-identity", "azure-identity"),
    ("azure-ai-ml", "azure-ai-ml"),
    ("mlflow", "mlflow"),
    ("azsdk-python", "azure-core"),
    ("python-requests", "requests"),
)


class Recorder:
    """Appends `protocol,operation,client` to a file, each once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: set[str] = set()

    def note(self, protocol: str, operation: str, user_agent: str) -> None:
        agent = user_agent.lower()
        client = next((name for mark, name in CLIENTS if mark in agent), None)
        line = f"{protocol},{operation},{client}\n"
        if client is None or line in self._seen:
            return
        self._seen.add(line)
        with self._path.open("a") as file:
            file.write(line)
