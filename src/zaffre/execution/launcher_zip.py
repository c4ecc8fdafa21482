"""The launcher as one file in the home, named by its content.

pip may replace the package while jobs run; they go on with the file they were started from.
"""

from __future__ import annotations

import hashlib
import io
import os
import py_compile
import tempfile
import zipfile
from functools import cache
from pathlib import Path

import zaffre_launcher

_EPOCH = (1980, 1, 1, 0, 0, 0)


def launcher_zip(home: Path) -> Path:
    """The path of the launcher's zip below `home`/launchers, made where it is missing."""
    content, name = _content()
    path = home / "launchers" / name
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(content)
            os.fsync(file.fileno())
        Path(file.name).rename(path)
    return path


@cache
def _content() -> tuple[bytes, str]:
    """The zip's bytes and file name; the same for the same sources and interpreter.

    Each module is there as source, for any Python, and compiled for the one that runs the server, so that it starts in
    a third less time. Uncompressed, so that zlib need not be loaded.
    """
    package = Path(zaffre_launcher.__file__).parent
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive, tempfile.TemporaryDirectory() as scratch:
        compiled = Path(scratch) / "module.pyc"
        for source in sorted(package.glob("*.py")):
            name = f"{package.name}/{source.name}"
            py_compile.compile(
                str(source), str(compiled), name, True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
            )
            archive.writestr(zipfile.ZipInfo(name + "c", _EPOCH), compiled.read_bytes())
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), source.read_bytes())
        entry = f"import sys\nfrom {package.name}.main import main\nsys.exit(main(sys.argv[1:]))\n"
        archive.writestr(zipfile.ZipInfo("__main__.py", _EPOCH), entry)
    content = buffer.getvalue()
    return content, hashlib.sha256(content).hexdigest() + ".pyz"
