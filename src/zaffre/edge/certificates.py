"""The certificates of one home: an authority, a server certificate for the names it is reached by, and the bundle.

`python -m zaffre.edge.certificates --home H [--name NAME]…` makes what is missing or due and leaves the rest alone,
so it may be run at every start and once a day. Renewing needs no reload: nginx reads the file at each full handshake.

    <home>/ca/ca.pem, ca.key           the authority (key: 0600)
    <home>/edge/tls/server.pem         key and certificate in one file, so that one rename swaps both
    <home>/edge/tls/server.json        what it was made for and when it is due, for readers without a crypto library
    <home>/bundle.pem                  public roots (or the operator's own) and our authority
"""

import argparse
import datetime
import ipaddress
import json
import re
import socket
import sys
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from zaffre.edge.authority import Authority, load_or_make_authority
from zaffre.edge.bundle import write_bundle
from zaffre.edge.errors import CertificateError
from zaffre.edge.files import write_private

RENEW_BEFORE = datetime.timedelta(days=30)
LIFE = datetime.timedelta(days=397)
"""As long as the strictest clients accept."""


def make_certificates(home: Path, names: Iterable[str] = (), *, now: datetime.datetime | None = None) -> bool:
    """Make or renew what `home` needs to be reached as localhost, as this host's name, and by `names`.

    True when the server certificate was written anew. Raises `CertificateError` for a name no certificate can hold.
    """
    now = now or datetime.datetime.now(datetime.UTC)
    asked = sorted(set(names))
    wanted = _with_accounts(_own_names() | {_general_name(name) for name in asked})
    authority = load_or_make_authority(home / "ca", now=now)
    path = home / "edge" / "tls" / "server.pem"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    current = _load(path)
    renewed = current is None or not _still_good(current, authority, wanted, now)
    if renewed:
        current = _issue(path, authority, wanted, now)
    assert current is not None  # either read or just made
    note = {"asked": asked, "renew_after": (current.not_valid_after_utc - RENEW_BEFORE).timestamp()}
    write_private(path.with_suffix(".json"), json.dumps(note).encode())
    write_bundle(home, authority.pem)
    return renewed


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m zaffre.edge.certificates", description="Make a home's certificates."
    )
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--name", action="append", default=[], help="a further DNS name or address; may be repeated")
    arguments = parser.parse_args()
    try:
        make_certificates(arguments.home, arguments.name)
    except (CertificateError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


_LONGEST_NAME = 253 - len("*.blob.")
_DNS = re.compile(
    r"(?=.{1,253}\Z)(\*\.)?[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*"
)


def _own_names() -> set[x509.GeneralName]:
    names = {_general_name(name) for name in ("localhost", "127.0.0.1", "::1")}
    host = socket.gethostname().lower()
    if _DNS.fullmatch(host):  # a machine may have a name no certificate can hold
        names.add(x509.DNSName(host))
    return names


def _with_accounts(names: set[x509.GeneralName]) -> set[x509.GeneralName]:
    """Storage accounts are reached as `<account>.blob.<name>` as well."""
    plain = (name.value for name in names if isinstance(name, x509.DNSName) and not name.value.startswith("*."))
    return names | {x509.DNSName(f"*.blob.{name}") for name in plain if len(name) <= _LONGEST_NAME}


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name.strip("[]")))
    except ValueError:
        pass
    folded = name.lower().rstrip(".")
    if not _DNS.fullmatch(folded):
        raise CertificateError(f"{name!r} is neither an address nor a DNS name in ASCII; give --name another value.")
    return x509.DNSName(folded)


def _load(path: Path) -> x509.Certificate | None:
    """The certificate in `path` when the file is whole: certificate and the key that belongs to it."""
    try:
        data = path.read_bytes()
        certificate = x509.load_pem_x509_certificate(data)
        key = serialization.load_pem_private_key(data, password=None)
    except (FileNotFoundError, ValueError):
        return None
    return certificate if key.public_key() == certificate.public_key() else None


def _still_good(
    certificate: x509.Certificate, authority: Authority, wanted: set[x509.GeneralName], now: datetime.datetime
) -> bool:
    try:
        certificate.verify_directly_issued_by(authority.certificate)
    except (ValueError, TypeError, InvalidSignature):
        return False
    has = set(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    return has == wanted and certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc - RENEW_BEFORE


def _issue(path: Path, authority: Authority, wanted: set[x509.GeneralName], now: datetime.datetime) -> x509.Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    day = datetime.timedelta(days=1)  # clocks differ
    names = sorted(wanted, key=lambda name: (isinstance(name, x509.IPAddress), str(name.value)))
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    public = authority.key.public_key()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")]))
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(min(now + LIFE, authority.certificate.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_private(path, private + certificate.public_bytes(serialization.Encoding.PEM))
    return certificate


if __name__ == "__main__":
    sys.exit(main())
