"""The one file of roots that clients of this home trust: public ones, or the operator's own, and our authority.

Our authority alone would break every other HTTPS call of the user, so `REQUESTS_CA_BUNDLE` and `SSL_CERT_FILE` name
this file.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import certifi

from zaffre.edge.files import write_private

VARIABLES = ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "PIP_CERT")
"""Where an operator behind a company's proxy names the roots to trust, the first that is set wins."""

_MARK = "# Written by Zaffre: its own authority, and the roots of "


def write_bundle(home: Path, authority: bytes, environment: Mapping[str, str] = os.environ) -> None:
    """Write `<home>/bundle.pem` if it would differ."""
    source = roots(environment)
    text = f"{_MARK}{source}\n".encode() + authority.strip() + b"\n\n" + source.read_bytes().strip() + b"\n"
    path = home / "bundle.pem"
    if not path.is_file() or path.read_bytes() != text:
        write_private(path, text, mode=0o644)  # public, and read by jobs of other users where there are any


def roots(environment: Mapping[str, str] = os.environ) -> Path:
    """The file of roots to start from: the operator's, else certifi's.

    Of a bundle that is one of ours, what it was made from; one that cannot be read is said on stderr and left out.
    """
    for path in _named(environment):
        try:
            with path.open("rb") as file:
                first = file.readline().decode(errors="replace")
        except OSError as error:
            sys.stderr.write(f"The bundle {path} cannot be read ({error.strerror}); it is left out.\n")
            continue
        if not first.startswith(_MARK):
            return path
        origin = Path(first.removeprefix(_MARK).strip())
        if origin.is_file():
            return origin
    return Path(certifi.where())


def _named(environment: Mapping[str, str]) -> Iterator[Path]:
    for name in VARIABLES:
        value = environment.get(name)
        if value and not Path(value).is_dir():  # a folder of hashed roots cannot be appended to
            yield Path(value).absolute()
