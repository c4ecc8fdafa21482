"""Where webhooks may go: not to this machine, not to the network behind it, unless the operator named the host."""

from __future__ import annotations

from pathlib import Path

import pytest

from zaffre.control.webhooks import LONGEST_PAUSE_S, pause_s
from zaffre.errors import InvalidInput
from zaffre.services.webhook_sending import NotAllowed, Sender
from zaffre.settings import load


def sender(*hosts: str, leads_to: tuple[str, ...] = ()) -> Sender:
    return Sender(hosts, Path("/none"), lambda _host, _port: list(leads_to))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "169.254.169.254",
        "192.168.1.1",
        "100.64.0.1",
        "0.0.0.0",
        "::1",
        "fe80::1%eth0",
        "fc00::1",
        "::ffff:127.0.0.1",
        "224.0.0.1",
        "2002:7f00:1::",
    ],
)
@pytest.mark.parametrize("hosts", [(), ("*.example.com",)])
def test_a_public_name_must_not_lead_inside(address: str, hosts: tuple[str, ...]) -> None:
    with pytest.raises(NotAllowed, match="non-public"):
        sender(*hosts, leads_to=("93.184.216.34", address)).send("https://a.example.com/", None, "id", "{}")


def test_what_may_stand_in_a_webhook() -> None:
    anywhere = sender()
    assert anywhere.check("https://example.com/x?y").hostname == "example.com"
    for url in (
        " ",
        "ftp://example.com",
        "http://example.com",
        "http://[invalid",
        "https://",
        "https://u:p@e.com",
        "https://e.com/\n",
    ):
        with pytest.raises(InvalidInput):
            anywhere.check(url)
    some = sender("*.example.com", "http://ci:8080", "[fd00::1]:9443")
    for url in ("https://a.example.com", "https://a.b.example.com:443/", "http://ci:8080/x", "https://[fd00::1]:9443/"):
        some.check(url)
    for url in (
        "https://example.com",
        "https://badexample.com",
        "http://ci/",
        "https://ci:8080",
        "http://a.example.com",
    ):
        with pytest.raises(InvalidInput):
            some.check(url)


def test_the_setting_is_read_with_care(tmp_path: Path) -> None:
    found = load(tmp_path, {"ZAFFRE_WEBHOOK_HOSTS": "Example.com, *.a.org,http://localhost:8080"})
    assert found.webhook_hosts == ("example.com", "*.a.org", "http://localhost:8080")
    with pytest.raises(ValueError, match="ZAFFRE_WEBHOOK_HOSTS"):
        load(tmp_path, {"ZAFFRE_WEBHOOK_HOSTS": "https://example.com/path"})


def test_pauses_grow_and_end() -> None:
    assert 1 <= pause_s(0, None) < 2 <= pause_s(1, None) < 4
    assert pause_s(0, 30) == 30
    assert pause_s(40, None) == pause_s(0, 1e9) == LONGEST_PAUSE_S
