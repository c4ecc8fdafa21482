"""Whether a server on another host can be trusted: by the roots this machine has, or by an authority the user vouches for.

Without either, its authority is fetched over a connection that proves nothing, and its fingerprint is shown: whoever compares
it with what `zaffre status` says on the server's own machine knows that nobody stands in between.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
import ssl
import sys
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import click

from zaffre.edge.bundle import roots
from zaffre.edge.files import write_private
from zaffre.profiles import ClientError, Profile
from zaffre.remote import Remote, RemoteError
from zaffre.settings import DEFAULT_PORT

AUTHORITY = "/metadata/ca"
_LONGEST = 64 * 1024
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----\s[A-Za-z0-9+/=\s]+?-----END CERTIFICATE-----")
_HOST = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?")


def address_of(text: str) -> str:
    """`https://host:port` of what a user types; a bare host means the port of `zaffre up`. Raises ClientError."""
    url = text.strip()
    bare = "://" not in url
    parts = urlsplit(f"https://{url}" if bare else url)
    try:
        port = parts.port
    except ValueError:
        port = -1
    host = (parts.hostname or "").lower()
    extra = parts.path.strip("/") or parts.query or parts.fragment or parts.username
    if parts.scheme != "https" or extra or port == -1 or not (_is_address(host) or _HOST.fullmatch(host)):
        raise ClientError(f"'{text}' is no address of a server; give one such as https://ml.example.org:8443.")
    port = port or (DEFAULT_PORT if bare else 443)
    shown = f"[{host}]" if ":" in host else host
    return f"https://{shown}" if port == 443 else f"https://{shown}:{port}"


def settle(address: str, bundle: Path, authority: Path | None, fingerprint: str | None) -> None:
    """Write to `bundle` the roots by which the server at `address` is trusted. Raises ClientError when it is not."""
    if authority is not None:
        certificate = _one_certificate(authority.read_text(errors="replace"), str(authority))
        if fingerprint is not None:
            _compare(certificate, fingerprint)
    elif fingerprint is None and _is_public(address):
        certificate = ""
    else:
        certificate = _one_certificate(_fetch(address), address + AUTHORITY)
        if fingerprint is not None:
            _compare(certificate, fingerprint)
        else:
            _ask(address, certificate)
    for folder in (bundle.parent.parent, bundle.parent):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    source = roots()
    text = f"# Written by `zaffre login`: who vouches for {address}, and the roots of {source}\n{certificate}\n\n"
    new = bundle.with_name(f".{bundle.name}.new")
    write_private(new, text.encode() + source.read_bytes().strip() + b"\n", mode=0o644)
    try:
        Remote(_stranger(address, new), timeout=20).call("GET", "/healthz", headers={})
    except RemoteError as error:
        new.unlink()
        hint = ""
        if "mismatch" in str(error) or "doesn't match" in str(error):
            hint = " Start it with `zaffre up --name HOST` to give it that name."
        raise ClientError(f"{error}{hint}") from None
    new.rename(bundle)


def fingerprint_of(certificate: str) -> str:
    """SHA-256 of a certificate in PEM form, as `openssl x509 -fingerprint -sha256` and browsers show it."""
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate)).hexdigest().upper()
    return ":".join(digest[index : index + 2] for index in range(0, len(digest), 2))


def _is_public(address: str) -> bool:
    """Whether the roots of this machine vouch for it, as they do where a public certificate stands in front."""
    try:
        Remote(_stranger(address, roots()), timeout=20).call("GET", "/healthz", headers={})
    except RemoteError as error:
        if "not trusted" in str(error):
            return False
        raise
    return True


def _fetch(address: str) -> str:
    """The authority the server names, over a connection that is not verified: nothing secret is sent on it."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    remote = Remote(_stranger(address, Path()), timeout=20)
    try:
        with remote.opener(context).open(urllib.request.Request(address + AUTHORITY), timeout=20) as answer:
            found: bytes = answer.read(_LONGEST)
    except (OSError, ValueError) as error:
        raise ClientError(
            f"{address} does not say who signed its certificate: {error}. Is it Zaffre? Give --ca FILE."
        ) from None
    return found.decode(errors="replace")


def _one_certificate(text: str, source: str) -> str:
    found = _CERTIFICATE.findall(text)
    if len(found) != 1 or "PRIVATE KEY" in text:
        raise ClientError(f"{source} is not one certificate in PEM form; `<home>/ca/ca.pem` of the server is.")
    certificate: str = found[0]
    try:
        ssl.create_default_context(cadata=certificate)
    except (ssl.SSLError, ValueError) as error:
        raise ClientError(f"{source} holds no certificate that can be read: {error}.") from None
    return certificate


def _compare(certificate: str, expected: str) -> None:
    is_, wanted = (
        fingerprint_of(certificate),
        expected.upper().removeprefix("SHA256:").replace(":", "").replace(" ", ""),
    )
    if is_.replace(":", "") != wanted:
        raise ClientError(
            f"The fingerprint is {is_}, not the one that was given. Nothing is sent there: it is another server, or "
            "somebody stands in between."
        )


def _ask(address: str, certificate: str) -> None:
    shown = fingerprint_of(certificate)
    text = (
        f"This machine does not know the authority that signed the certificate of {address}. Its SHA-256 fingerprint is\n"
        f"  {shown}\n"
        "Compare it with the one `zaffre status` shows on that server. Programs run with `zaffre run` and `zaffre env` of "
        "this\nprofile will trust whatever it signs."
    )
    if not _is_terminal():
        raise ClientError(f"{text}\nThen log in with --fingerprint {shown}, or with --ca FILE.")
    click.echo(text, err=True)
    if not click.confirm("Trust it?", err=True):
        raise ClientError("Not trusted; nothing was sent and nothing was kept.")


def _stranger(address: str, bundle: Path) -> Profile:
    """A server nothing is known of yet; it is sent no key."""
    return Profile(address=address, bundle=str(bundle), api_key="")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_terminal() -> bool:
    return sys.stdin.isatty()
