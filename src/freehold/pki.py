"""The cloud's own certificate authority, by which the control plane and its hosts know each other.

`ensure(D/pki, host_id)` has ``ca.crt``, ``ca.key``, ``control.crt``, ``control.key`` (DNS name ``control``) and
``host.crt``, ``host.key`` (common name = the host's id). All keys are P-256 and their owner's alone (0600). Each file
comes by one rename, and what does not fit together, or is about to expire, is made anew: it may be cut anywhere.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CONTROL = "control"
AUTHORITY_DAYS = 3650
LEAF_DAYS = 90
_RENEW_DAYS = 60  # what a leaf must be good for still, or it is made anew
_RENEW_AUTHORITY_DAYS = 365


class PkiError(Exception):
    """A file of the authority can not be used; the message says in one sentence what to do."""


@dataclass(frozen=True, slots=True)
class Authority:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def of(cls, directory: Path) -> Authority:
        """The authority kept in a directory, which is made when it is not there. Raises PkiError."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = _load_key(directory / "ca.key") or _new_key(directory / "ca.key")
        certificate = _load_certificate(directory / "ca.crt")
        if certificate is None or not _fits(certificate, key, _RENEW_AUTHORITY_DAYS):
            certificate = _self_signed(key)
            _replace(directory / "ca.crt", certificate.public_bytes(serialization.Encoding.PEM))
        return cls(certificate, key)

    def issue(
        self, key: ec.EllipticCurvePrivateKey, common_name: str, *, server: bool, names: Sequence[str] = ()
    ) -> x509.Certificate:
        """A leaf for `LEAF_DAYS`: of a server, which also bears its name and `names` (DNS names, IP addresses), or of a
        client."""
        usage = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = (
            _builder(_name(common_name), self.certificate.subject, key, LEAF_DAYS)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(_authority_identifier(self.key), critical=False)
        )
        if server:
            builder = builder.add_extension(_alternative_names(common_name, names), critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def ensure_leaf(
        self, directory: Path, file: str, common_name: str, *, server: bool, names: Sequence[str] = ()
    ) -> bool:
        """Have ``<file>.crt`` and ``<file>.key``; whether they had to be made. Raises PkiError."""
        key = _load_key(directory / f"{file}.key")
        certificate = _load_certificate(directory / f"{file}.crt")
        if (
            key
            and certificate
            and _fits(certificate, key, _RENEW_DAYS)
            and self._issued(certificate, common_name)
            and (not server or _bears(certificate, common_name, names))
        ):
            return False
        key = _new_key(directory / f"{file}.key")
        certificate = self.issue(key, common_name, server=server, names=names)
        _replace(directory / f"{file}.crt", certificate.public_bytes(serialization.Encoding.PEM))
        return True

    def _issued(self, certificate: x509.Certificate, common_name: str) -> bool:
        try:
            certificate.verify_directly_issued_by(self.certificate)
        except (InvalidSignature, ValueError):
            return False
        return certificate.subject == _name(common_name)


def ensure(directory: Path, host_id: str) -> bool:
    """Have all files of the module's description; whether a leaf is new, so that its process has to start again.

    Raises PkiError.
    """
    authority = Authority.of(directory)
    made = [
        authority.ensure_leaf(directory, "control", CONTROL, server=True),
        authority.ensure_leaf(directory, "host", host_id, server=False),
    ]
    return any(made)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _alternative_names(common_name: str, names: Sequence[str]) -> x509.SubjectAlternativeName:
    result: list[x509.GeneralName] = [x509.DNSName(common_name)]
    for name in names:
        try:
            result.append(x509.IPAddress(ip_address(name)))
        except ValueError:
            result.append(x509.DNSName(name))
    return x509.SubjectAlternativeName(result)


def _bears(certificate: x509.Certificate, common_name: str, names: Sequence[str]) -> bool:
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return found == _alternative_names(common_name, names)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, days: int
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))  # clocks are set back now and then
        .not_valid_after(now + dt.timedelta(days=days))
    )


def _self_signed(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = _name("Freehold")
    usage = x509.KeyUsage(
        key_cert_sign=True,
        crl_sign=True,
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        _builder(name, name, key, AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _authority_identifier(key: ec.EllipticCurvePrivateKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())


def _fits(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey, days: int) -> bool:
    """Whether a certificate is this key's, and good for so many days."""
    good_until = certificate.not_valid_after_utc
    return certificate.public_key() == key.public_key() and good_until > dt.datetime.now(dt.UTC) + dt.timedelta(days)


def _new_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    _replace(path, pem)
    return key


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey | None:
    if not path.exists():
        return None
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError) as error:
        raise PkiError(f"{path} is damaged: remove it, and `freehold up` makes another.") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise PkiError(f"{path} is not a P-256 key: remove it, and `freehold up` makes another.")
    return key


def _load_certificate(path: Path) -> x509.Certificate | None:
    if not path.exists():
        return None
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except ValueError as error:
        raise PkiError(f"{path} is damaged: remove it, and `freehold up` makes another.") from error


def _replace(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    temporary = path.with_suffix(f"{path.suffix}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
