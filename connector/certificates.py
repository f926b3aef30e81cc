"""TLS contexts that follow their files: a certificate lives for weeks, a process for months."""

import ssl
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import structlog

log = structlog.get_logger(__name__)

Build = Callable[[], ssl.SSLContext]
Stamp = tuple[tuple[int, int, int], ...]


class RenewedContext(ssl.SSLContext):
    """Gives each new connection the certificates that the files hold then; open connections keep theirs.

    asyncio makes every connection with `wrap_bio`. While the files cannot be used, because somebody is replacing them,
    new connections get the last certificates that could.

    Raises:
        OSError: At the start, when the files cannot be used.
    """

    _build: Build
    _files: Collection[str]
    _stamp: Stamp | None
    _newest: ssl.SSLContext

    def __new__(cls, build: Build, files: Collection[str]) -> "RenewedContext":
        """`build()` makes a context from `files`, or raises OSError."""
        self = super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)
        self._build, self._files = build, files
        self._stamp = stamp(files)  # taken first: a file that changes meanwhile is read once more
        self._newest = build()
        return self

    def wrap_bio(self, *arguments: Any, **options: Any) -> ssl.SSLObject:
        """A connection with the newest certificates."""
        now = stamp(self._files)
        if now is not None and now != self._stamp:
            try:
                self._newest, self._stamp = self._build(), now
                log.info("certificates_read_again", files=self._files)
            except OSError as error:
                log.warning("certificates_kept", files=self._files, reason=str(error))
        return self._newest.wrap_bio(*arguments, **options)


def server_context(cert_file: str, key_file: str | None) -> RenewedContext:
    """The context of a server with this certificate. Raises OSError when the files cannot be used."""

    def build() -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        load_chain(context, cert_file, key_file)
        return context

    return RenewedContext(build, tuple(filter(None, (cert_file, key_file))))


def load_chain(context: ssl.SSLContext, cert_file: str, key_file: str | None) -> None:
    """Raises OSError when the files cannot be used, or the key wants a passphrase."""
    context.load_cert_chain(cert_file, key_file, password="")  # without one, OpenSSL asks for it on the terminal


def stamp(files: Collection[str]) -> Stamp | None:
    """Changes when one of the files is written or replaced, also by a link to another. None while one is missing."""
    try:
        states = [Path(file).stat() for file in files]
    except OSError:
        return None
    return tuple((state.st_mtime_ns, state.st_ino, state.st_size) for state in states)
