"""A small certificate authority: ECDSA P-256, X.509 as RFC 5280 profiles it. No files: PEM in, PEM out."""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Iterable, Sequence
from typing import Self, TypeAlias

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from stack.errors import StackError

AUTHORITY_LIFE = dt.timedelta(days=3652)
LIFE = dt.timedelta(days=365)
REVOCATIONS_LIFE = dt.timedelta(days=30)
_SHORTEST_RSA = 2048
_PublicKey: TypeAlias = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey
# Clocks of devices are late now and then, and a certificate of the future is refused.
_BACKDATED = dt.timedelta(hours=1)


class Authority:
    """A certificate authority that signs servers and clients, but no other authorities (path length 0)."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self._certificate = certificate
        self._key = key

    @classmethod
    def create(cls, name: str, now: dt.datetime) -> Self:
        """Make a new authority, for ten years."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _subject(name)
        builder = _builder(subject, subject, key.public_key(), now, AUTHORITY_LIFE)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_key_usage(signs_certificates=True), critical=True)
        return cls(builder.sign(key, hashes.SHA256()), key)

    @classmethod
    def load(cls, certificate: bytes, key: bytes) -> Self:
        """Read what ``certificate`` and ``key`` gave. Raises StackError when they are none, or don't match."""
        try:
            loaded = serialization.load_pem_private_key(key, password=None)
            found = x509.load_pem_x509_certificate(certificate)
        except ValueError as error:
            raise _damaged(str(error)) from error
        if not isinstance(loaded, ec.EllipticCurvePrivateKey) or loaded.public_key() != found.public_key():
            raise _damaged("certificate and key do not belong together")
        return cls(found, loaded)

    @property
    def certificate(self) -> bytes:
        """What everybody who shall trust it gets, PEM."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key(self) -> bytes:
        """Its private key, PEM, unencrypted."""
        return _private_bytes(self._key)

    def issue_server(self, names: Sequence[str], now: dt.datetime) -> bytes:
        """Return key and certificate of a server that answers to host names and addresses, PEM, for a year."""
        alternatives = x509.SubjectAlternativeName([_general_name(name) for name in names])
        return self._issue(names[0], ExtendedKeyUsageOID.SERVER_AUTH, now, [alternatives])

    def issue_client(self, name: str, now: dt.datetime) -> bytes:
        """Return key and certificate of a client whose common name is ``name``, PEM, for a year."""
        return self._issue(name, ExtendedKeyUsageOID.CLIENT_AUTH, now, [])

    def sign_client(self, name: str, request: bytes, now: dt.datetime) -> bytes:
        """Return the certificate of a client, PEM, for a year, for the key of its signing request, PEM.

        Of the request only the key is taken: the name is ours to say. Raises StackError when it can't be used.
        """
        try:
            asked = x509.load_pem_x509_csr(request)
            key = asked.public_key()
            is_signed = asked.is_signature_valid
        except (ValueError, UnsupportedAlgorithm) as error:
            raise StackError(
                f"The signing request can't be read: {error}.",
                "Give one in PEM, as `openssl req -new` makes it.",
            ) from error
        is_strong = isinstance(key, ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey) or (
            isinstance(key, rsa.RSAPublicKey) and key.key_size >= _SHORTEST_RSA
        )
        if not is_signed or not isinstance(key, _PublicKey) or not is_strong:
            raise StackError(
                "The signing request is not signed by its own key, or that is too weak.",
                f"Use an elliptic curve, Ed25519, or RSA of {_SHORTEST_RSA} bits.",
            )
        return self._sign(name, ExtendedKeyUsageOID.CLIENT_AUTH, now, [], key)

    def revocations(self, serials: Iterable[str], now: dt.datetime) -> bytes:
        """Return the list of certificates (serial numbers, hex) that are no longer valid, PEM, good for thirty days."""
        builder = x509.CertificateRevocationListBuilder(self._certificate.subject)
        builder = builder.last_update(now - _BACKDATED).next_update(now + REVOCATIONS_LIFE)
        for serial in serials:
            revoked = x509.RevokedCertificateBuilder(int(serial, 16), now - _BACKDATED)
            builder = builder.add_revoked_certificate(revoked.build())
        builder = builder.add_extension(self._identifier(), critical=False)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def _issue(
        self, name: str, usage: x509.ObjectIdentifier, now: dt.datetime, more: Sequence[x509.ExtensionType]
    ) -> bytes:
        key = ec.generate_private_key(ec.SECP256R1())
        return _private_bytes(key) + self._sign(name, usage, now, more, key.public_key())

    def _sign(
        self,
        name: str,
        usage: x509.ObjectIdentifier,
        now: dt.datetime,
        more: Sequence[x509.ExtensionType],
        key: _PublicKey,
    ) -> bytes:
        builder = _builder(_subject(name), self._certificate.subject, key, now, LIFE)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_key_usage(signs_certificates=False), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        for extension in (self._identifier(), *more):
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def _identifier(self) -> x509.AuthorityKeyIdentifier:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())


class Certificate:
    """What a PEM file says of itself: the first certificate in it."""

    def __init__(self, pem: bytes) -> None:
        try:
            self._certificate = x509.load_pem_x509_certificate(pem)
        except ValueError as error:
            raise _damaged(str(error)) from error

    @property
    def names(self) -> list[str]:
        """Host names and addresses of a server; for others, the common name."""
        try:
            found = self._certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            found_names = self._certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
            return [str(name.value) for name in found_names]
        return [str(name.value) for name in found]

    @property
    def expires(self) -> dt.datetime:
        """When it ends to be valid, UTC."""
        return self._certificate.not_valid_after_utc

    @property
    def serial(self) -> str:
        """Its number, in hex."""
        return f"{self._certificate.serial_number:x}"

    @property
    def fingerprint(self) -> str:
        """SHA-256 of it, in hex, to compare by eye or telephone."""
        return self._certificate.fingerprint(hashes.SHA256()).hex(":")

    def is_due(self, now: dt.datetime) -> bool:
        """Whether less than a third of its life is left."""
        return self.expires - now < (self.expires - self._certificate.not_valid_before_utc) / 3

    def is_of(self, authority: bytes) -> bool:
        """Whether the authority with this certificate (PEM) has signed it."""
        try:
            self._certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(authority))
        except (ValueError, TypeError, InvalidSignature):
            return False
        return True


def server_pem(certificate: bytes, key: bytes, now: dt.datetime) -> bytes:
    """Return a server's private key and its chain as one PEM, from files that may hold more.

    Raises StackError when one of them can't be used, they do not belong together, or the time of it is not now.
    """
    try:
        chain = x509.load_pem_x509_certificates(certificate)
    except ValueError:
        raise StackError(
            "The certificate is not PEM.", "Give the server's certificate, then its chain."
        ) from None
    try:
        private = serialization.load_pem_private_key(key, password=None)
    except (ValueError, UnsupportedAlgorithm):
        raise StackError("The key is not a private key in PEM.", "Give that of the certificate.") from None
    except TypeError:
        raise StackError("The key is encrypted.", "Decrypt it, with `openssl pkey` for example.") from None
    own = chain[0]
    if private.public_key() != own.public_key():
        raise StackError("Certificate and key do not belong together.", "Give the key that it was made for.")
    if not own.not_valid_before_utc <= now < own.not_valid_after_utc:
        span = f"{own.not_valid_before_utc:%Y-%m-%d} to {own.not_valid_after_utc:%Y-%m-%d}"
        raise StackError(f"The certificate is valid from {span} only.", "Renew it, or set the clock right.")
    public = [found.public_bytes(serialization.Encoding.PEM) for found in chain]
    return _private_bytes(private) + b"".join(public)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: _PublicKey,
    now: dt.datetime,
    life: dt.timedelta,
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder(issuer, subject, key, x509.random_serial_number())
    builder = builder.not_valid_before(now - _BACKDATED).not_valid_after(now + life)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    try:
        return x509.DNSName(name)
    except ValueError:
        raise StackError(f'"{name}" is not a host name.', "Write it in ASCII, or give an address.") from None


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _private_bytes(key: PrivateKeyTypes) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _damaged(why: str) -> StackError:
    return StackError(f"The certificates are damaged: {why}.", "Restore them from a copy, or make new ones.")
