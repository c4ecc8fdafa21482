"""The home's own certificate authority: made once, kept for ten years, known to nobody but this home's clients."""

import datetime
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from zaffre.edge.errors import CertificateError
from zaffre.edge.files import write_private

LIFE = datetime.timedelta(days=3652)
RENEW_BEFORE = datetime.timedelta(days=430)
"""More than a server certificate lives, so that none is cut short by its authority."""


@dataclass(frozen=True)
class Authority:
    """The authority's certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)


def load_or_make_authority(folder: Path, *, now: datetime.datetime) -> Authority:
    """The authority in `folder`; a new one when there is none yet or its end is near.

    Raises `CertificateError` when only half of it is there or the halves do not belong together: making another in
    silence would leave every client with a bundle that no longer fits.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    certificate_path, key_path = folder / "ca.pem", folder / "ca.key"
    # The key is written first: a start that was cut short leaves a key alone, which is then simply replaced.
    if not certificate_path.exists():
        return _make(certificate_path, key_path, now)
    try:
        certificate = x509.load_pem_x509_certificate(certificate_path.read_bytes())
        key = serialization.load_pem_private_key(key_path.read_bytes(), password=None)
    except (FileNotFoundError, ValueError) as error:
        raise CertificateError(_broken(folder, str(error))) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise CertificateError(_broken(folder, "the key does not belong to the certificate"))
    if now >= certificate.not_valid_after_utc - RENEW_BEFORE:
        return _make(certificate_path, key_path, now)
    return Authority(certificate=certificate, key=key)


def _make(certificate_path: Path, key_path: Path, now: datetime.datetime) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    # A name of its own: with two authorities of one name in a bundle, OpenSSL may try the wrong one.
    title = f"Zaffre {secrets.token_hex(4)} on {socket.gethostname()[:40]}"
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, title)])
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + LIFE)
        # All of these are asked for by OpenSSL's strict mode, the default from Python 3.13 on.
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_private(key_path, private)
    authority = Authority(certificate=certificate, key=key)
    write_private(certificate_path, authority.pem)
    return authority


def _broken(folder: Path, why: str) -> str:
    return (
        f"The certificate authority in {folder} cannot be used: {why}. Restore ca.pem and ca.key from a backup, or "
        "remove both to have a new one made; clients then need the new bundle."
    )
