"""A server that speaks S3, in a process of its own: moto's, which keeps everything in memory."""

from __future__ import annotations

import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import obstore
from obstore.store import S3Store

KEY_ID, SECRET = "AKIAZAFFRETESTS", "a+secret/of=the tests"
_RUN = (
    "import sys\n"
    "from moto.server import main\n"
    "sys.exit(main(['-H', '127.0.0.1', '-p', '0']))\n"
)  # fmt: skip


@dataclass
class S3Server:
    address: str

    def bucket(self, name: str, **files: bytes) -> S3Store:
        """Make a bucket with these files; `__` in a name stands for `/`."""
        who = "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/s3/aws4_request"  # moto looks for the region only
        request = urllib.request.Request(f"{self.address}/{name}", method="PUT", headers={"Authorization": who})
        with urllib.request.urlopen(request, timeout=30):
            pass
        store = S3Store(
            name, endpoint=self.address, region="us-east-1", access_key_id=KEY_ID, secret_access_key=SECRET,
            client_options={"allow_http": True},
        )  # fmt: skip
        for path, content in files.items():
            obstore.put(store, path.replace("__", "/"), content)
        return store


@contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """A running server; it says itself which port it took."""
    log = folder / "moto.log"
    with open(log, "wb") as out:
        process = subprocess.Popen([sys.executable, "-c", _RUN], stdout=out, stderr=subprocess.STDOUT)
    try:
        yield S3Server(_address(process, log))
    finally:
        process.kill()
        process.wait()


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    from tests.support.zaffre_server import eventually

    def look() -> str | None:
        assert process.poll() is None, log.read_text()
        match = re.search(r"http://127\.0\.0\.1:\d+", log.read_text())
        return match[0] if match else None

    found = eventually(look, lambda address: address is not None, seconds=60, what="the S3 server")
    assert found is not None
    return found
