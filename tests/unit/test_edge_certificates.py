"""The certificates verify where it is strict, are renewed when due, and nothing that works is thrown away."""

import datetime
import json
import shutil
import socket
import ssl
import stat
import threading
from pathlib import Path

import certifi
import pytest
from cryptography import x509

from zaffre.edge.bundle import VARIABLES, roots, write_bundle
from zaffre.edge.certificates import make_certificates
from zaffre.edge.errors import CertificateError


@pytest.fixture(autouse=True)
def _no_bundle_of_the_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def leaf(home: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate((home / "edge" / "tls" / "server.pem").read_bytes())


def shake_hands(home: Path, name: str) -> None:
    """A TLS handshake over a socket pair, checked as strictly as Python 3.13 does."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(home / "edge" / "tls" / "server.pem")
    client = ssl.create_default_context(cafile=str(home / "bundle.pem"))
    client.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
    near, far = socket.socketpair()

    def serve() -> None:
        try:
            server.wrap_socket(far, server_side=True).close()
        except OSError:
            far.close()  # the client said no; its side tells why

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        client.wrap_socket(near, server_hostname=name).close()
    finally:
        near.close()
        thread.join()


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1", "zaffre.example", "10.1.2.3"])
def test_every_name_verifies_strictly(tmp_path: Path, name: str) -> None:
    make_certificates(tmp_path, ["zaffre.example", "10.1.2.3"])
    shake_hands(tmp_path, name)


def test_other_names_do_not(tmp_path: Path) -> None:
    make_certificates(tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(tmp_path, "elsewhere.example")


def test_nothing_is_made_twice(tmp_path: Path) -> None:
    assert make_certificates(tmp_path)
    before = leaf(tmp_path)
    assert not make_certificates(tmp_path)
    assert leaf(tmp_path) == before


def test_renewed_when_names_change_or_the_end_is_near(tmp_path: Path) -> None:
    now = datetime.datetime.now(datetime.UTC)
    make_certificates(tmp_path)
    authority = (tmp_path / "ca" / "ca.pem").read_bytes()
    assert make_certificates(tmp_path, ["other.example"])
    assert not make_certificates(tmp_path, ["other.example"], now=now + datetime.timedelta(days=360))
    assert make_certificates(tmp_path, ["other.example"], now=now + datetime.timedelta(days=370))
    assert (tmp_path / "ca" / "ca.pem").read_bytes() == authority
    note = json.loads((tmp_path / "edge" / "tls" / "server.json").read_text())
    assert note["asked"] == ["other.example"]
    assert note["renew_after"] == (leaf(tmp_path).not_valid_after_utc - datetime.timedelta(days=30)).timestamp()


def test_secrets_are_for_their_owner(tmp_path: Path) -> None:
    make_certificates(tmp_path)
    for path in ("ca/ca.key", "edge/tls/server.pem"):
        assert stat.S_IMODE((tmp_path / path).stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "ca").stat().st_mode) == 0o700


def test_a_broken_server_file_is_made_anew_and_half_an_authority_is_said(tmp_path: Path) -> None:
    make_certificates(tmp_path)
    (tmp_path / "edge" / "tls" / "server.pem").write_bytes(b"half")
    assert make_certificates(tmp_path)
    (tmp_path / "ca" / "ca.key").unlink()
    with pytest.raises(CertificateError, match="Restore"):
        make_certificates(tmp_path)


@pytest.mark.parametrize("name", ["a b", "ä.example", "-x", "x..y", 'a"b', ""])
def test_names_no_certificate_can_hold(tmp_path: Path, name: str) -> None:
    with pytest.raises(CertificateError, match="--name"):
        make_certificates(tmp_path, [name])


def test_the_bundle_keeps_the_operators_roots(tmp_path: Path) -> None:
    company = tmp_path / "company.pem"
    shutil.copy(certifi.where(), company)
    home, other = tmp_path / "home", tmp_path / "other"
    for folder in (home, other):
        folder.mkdir()
    assert roots({}) == Path(certifi.where())
    assert roots({"SSL_CERT_FILE": str(company)}) == company
    write_bundle(home, b"ours", {"REQUESTS_CA_BUNDLE": str(company)})
    text = (home / "bundle.pem").read_bytes()
    assert b"ours" in text and company.read_bytes().strip() in text
    # A shell that uses one of our bundles: the roots it was made from, not the bundle in itself once more.
    write_bundle(other, b"theirs", {"REQUESTS_CA_BUNDLE": str(home / "bundle.pem")})
    assert b"ours" not in (other / "bundle.pem").read_bytes()
    assert company.read_bytes().strip() in (other / "bundle.pem").read_bytes()
    assert roots({"PIP_CERT": str(tmp_path / "missing.pem")}) == Path(certifi.where())
