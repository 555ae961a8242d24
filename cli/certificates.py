"""The certificates of a data directory: where they are, and that those of our own making are never old."""

from __future__ import annotations

import dataclasses
import datetime as dt
import pathlib
import socket
import ssl
from collections.abc import Sequence

from cli.secrets import write_private
from cli.settings import Settings, SettingsError
from sensors.topics import DEVICE_ID, why_reserved
from stack.errors import StackError
from stack.pki import Authority, Certificate, server_pem


@dataclasses.dataclass(frozen=True, slots=True)
class CertificateStore:
    """The authority and what it has issued, in ``directory``.

    Key and certificate of a server or client are one file, so that they are replaced together or not at all.
    """

    directory: pathlib.Path

    @property
    def authority_file(self) -> pathlib.Path:
        """The authority's certificate, which devices and clients trust."""
        return self.directory / "ca.pem"

    @property
    def server_file(self) -> pathlib.Path:
        """Key and certificate of broker and API."""
        return self.directory / "server.pem"

    def client_file(self, device: str) -> pathlib.Path:
        """Key and certificate of a device."""
        return self.directory / "clients" / f"{device}.pem"

    def ensure_authority(self, now: dt.datetime) -> Authority:
        """Return the authority, made the first time. Raises StackError when its files are damaged."""
        key_file = self.directory / "ca.key"
        try:
            return Authority.load(self.authority_file.read_bytes(), key_file.read_bytes())
        except FileNotFoundError:
            if self.authority_file.exists():
                raise SettingsError(
                    f"{self.authority_file} is there and {key_file} is not; bring the key back, "
                    "or move the certificate away to begin anew"
                ) from None
        made = Authority.create(f"Alatau {socket.gethostname()}"[:64], now)
        # The key first: without a certificate nobody trusts it yet, and the next run begins anew.
        write_private(key_file, made.key)
        write_private(self.authority_file, made.certificate)
        return made

    def ensure_server(self, names: Sequence[str], now: dt.datetime) -> bool:
        """Issue the server's certificate when there is none, it is due, or lacks a name; return whether it was.

        It answers to this machine, to ``names``, and to what the one before answered to.
        """
        authority = self.ensure_authority(now)
        wanted = ["localhost", "127.0.0.1", "::1", socket.gethostname(), *names]
        if (found := self._read(self.server_file)) is not None:
            wanted = [*found.names, *wanted]
            if (
                set(wanted) == set(found.names)
                and not found.is_due(now)
                and found.is_of(authority.certificate)
            ):
                return False
        write_private(self.server_file, authority.issue_server(list(dict.fromkeys(wanted)), now))
        return True

    def issue_client(self, device: str, now: dt.datetime, request: bytes | None = None) -> bytes:
        """Return a device's certificate, PEM, with a new key, or for the key of a signing request (PEM).

        It is kept nowhere: put it on record first. Raises SettingsError, StackError.
        """
        # A service's name would make whoever holds the certificate that service.
        if not DEVICE_ID.fullmatch(device) or why_reserved(device):
            raise SettingsError(f'"{device}" is no id that a device can have; give that of a device')
        authority = self.ensure_authority(now)
        if request is None:
            return authority.issue_client(device, now)
        return authority.sign_client(device, request, now)

    def keep_client(self, device: str, pem: bytes) -> pathlib.Path:
        """Write a device's certificate to ``client_file``, in the place of an earlier one."""
        write_private(self.client_file(device), pem)
        return self.client_file(device)

    def listed(self) -> list[tuple[pathlib.Path, Certificate]]:
        """Return every certificate that is here with its file, the authority's first."""
        files = [self.authority_file, self.server_file, *sorted(self.directory.glob("clients/*.pem"))]
        return [(path, found) for path in files if (found := self._read(path)) is not None]

    @staticmethod
    def _read(path: pathlib.Path) -> Certificate | None:
        return Certificate(path.read_bytes()) if path.exists() else None


@dataclasses.dataclass(frozen=True, slots=True)
class ServerCertificate:
    """The certificate of broker and API: two files, or one with both, that a renewal replaces while they run."""

    certificate_file: pathlib.Path
    key_file: pathlib.Path

    def __str__(self) -> str:
        return ", ".join(dict.fromkeys(map(str, (self.certificate_file, self.key_file))))

    def read(self, now: dt.datetime) -> bytes:
        """Return key and chain as one PEM. Raises SettingsError when they can't be used now."""
        try:
            certificate, key = self.certificate_file.read_bytes(), self.key_file.read_bytes()
        except OSError as error:
            raise SettingsError(
                f"{error.filename}: {error.strerror}; give files of ALATAU_TLS_CERTIFICATE and ALATAU_TLS_KEY "
                "that this user may read"
            ) from error
        try:
            return server_pem(certificate, key, now)
        except StackError as error:
            raise SettingsError(f"{self}: {error.message} {error.remedy}") from error

    def context(self) -> ssl.SSLContext:
        """Return a server's context with it, of TLS 1.2 or later. Raises SettingsError when it can't be used now."""
        self.read(dt.datetime.now(dt.UTC))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(self.certificate_file, self.key_file)
        except OSError as error:
            raise SettingsError(f"{self}: {error}; give a certificate and its key") from error
        return context

    @property
    def names(self) -> list[str]:
        """Host names and addresses that it answers to."""
        return Certificate(self.certificate_file.read_bytes()).names

    def state(self) -> tuple[tuple[int, int] | None, ...]:
        """Return what is another after each change of the files."""
        return tuple(_state(path) for path in (self.certificate_file, self.key_file))


def _state(path: pathlib.Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def supplied_certificate(settings: Settings) -> ServerCertificate | None:
    """Return the certificate that the environment names. Raises SettingsError when it names half of one."""
    match settings.tls_certificate, settings.tls_key:
        case None, None:
            return None
        case pathlib.Path() as certificate, pathlib.Path() as key:
            return ServerCertificate(certificate.expanduser().absolute(), key.expanduser().absolute())
    raise SettingsError("ALATAU_TLS_CERTIFICATE and ALATAU_TLS_KEY go together; set both, or none")


def server_certificate(settings: Settings, names: Sequence[str], now: dt.datetime) -> ServerCertificate:
    """Return the certificate that the environment names, else the one of our authority, made if need be.

    One of ours answers to this machine and to ``names``. Raises SettingsError, StackError.
    """
    if (supplied := supplied_certificate(settings)) is not None:
        supplied.read(now)
        return supplied
    store = certificate_store(settings)
    store.ensure_server(names, now)
    return ServerCertificate(store.server_file, store.server_file)


def certificate_store(settings: Settings) -> CertificateStore:
    """Return the certificates of the data directory."""
    return CertificateStore(settings.root / "pki")
