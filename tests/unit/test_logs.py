"""Logs: only whole lines of a running job, only under our signature, never a file from elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from zaffre.errors import Denied
from zaffre.services.logs import Logs, _whole_lines


@pytest.mark.parametrize(
    ("content", "ended", "size"),
    [
        (b"", False, 0),
        (b"half", False, 0),
        (b"half", True, 4),
        (b"a\nb", False, 2),
        (b"10%\r20%", False, 4),
        (b"x" * 600_000 + b"\ny", False, 600_001),
    ],
)
def test_whole_lines(tmp_path: Path, content: bytes, ended: bool, size: int) -> None:
    (tmp_path / "log.txt").write_bytes(content)
    assert _whole_lines(tmp_path / "log.txt", tmp_path, ended) == size


def test_no_file_and_links_out_of_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "job"
    folder.mkdir()
    (tmp_path / "secret").write_text("secret\n")
    (folder / "link.txt").symlink_to(tmp_path / "secret")
    assert _whole_lines(folder / "link.txt", folder, True) is None
    assert _whole_lines(folder / "none.txt", folder, True) is None


def test_signatures(tmp_path: Path) -> None:
    from tests.support.blob_server import Services

    services = Services(tmp_path)
    logs = Logs(tmp_path / "jobs", tmp_path / "keys", services.blobs, services.clock)
    address = logs.address(services.workspace, "run", "user_logs/std_log.txt")
    query = dict(part.split("=") for part in address.partition("?")[2].split("&"))
    logs.check(services.workspace.id, "run", "user_logs/std_log.txt", query["se"], query["sig"])
    for scope, run, name, expires, signature in (
        (services.other.id, "run", "user_logs/std_log.txt", query["se"], query["sig"]),
        (services.workspace.id, "other", "user_logs/std_log.txt", query["se"], query["sig"]),
        (services.workspace.id, "run", "user_logs/other.txt", query["se"], query["sig"]),
        (services.workspace.id, "run", "user_logs/std_log.txt", str(int(query["se"]) + 1), query["sig"]),
        (services.workspace.id, "run", "user_logs/std_log.txt", query["se"], ""),
        (services.workspace.id, "run", "user_logs/std_log.txt", "never", query["sig"]),
    ):
        with pytest.raises(Denied):
            logs.check(scope, run, name, expires, signature)
    services.clock.ahead_ms = 25 * 3_600_000
    with pytest.raises(Denied, match="expired"):
        logs.check(services.workspace.id, "run", "user_logs/std_log.txt", query["se"], query["sig"])
    services.close()
