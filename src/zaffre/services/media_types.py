"""What kind of file a name promises, as MLflow has it: whatever people read as text is plain text."""

from __future__ import annotations

import mimetypes
from pathlib import PurePosixPath

from zaffre.services.blobs import OCTETS

_TEXT = frozenset(
    [
        *("txt", "log", "err", "cfg", "conf", "cnf", "cf", "ini", "properties", "prop", "hocon", "toml", "yaml", "yml"),
        *("xml", "json", "js", "py", "py3", "csv", "tsv", "md", "rst"),
    ]
)
_TEXT_NAMES = ("MLmodel", "MLproject", "mlproject")


def of_name(path: str) -> str:
    """The media type of a file of that name, whatever its maker called it."""
    name = PurePosixPath(path)
    if name.suffix[1:] in _TEXT or name.name in _TEXT_NAMES:
        return "text/plain"
    return mimetypes.guess_type(name.name)[0] or OCTETS
