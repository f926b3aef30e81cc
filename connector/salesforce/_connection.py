"""The gRPC connection to the Pub/Sub API. It follows the file of the authorities that it trusts."""

from pathlib import Path
from typing import Any

import grpc
import structlog

from connector.certificates import Stamp, stamp
from connector.errors import Fatal
from connector.salesforce.proto.pubsub_api_pb2_grpc import PubSubStub

log = structlog.get_logger(__name__)

_OPTIONS = [
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),  # an answer has up to 3 MB; a schema has no known limit
    ("grpc.keepalive_time_ms", 120_000),  # finds a dead connection before the idle watchdog does
    ("grpc.keepalive_timeout_ms", 20_000),
]


class Connection:
    """`ca_file` is a PEM file of authorities, or None for the usual ones. Use `stub()` for each call."""

    def __init__(self, endpoint: str, tls: bool, ca_file: str | None) -> None:
        self._endpoint = endpoint
        self._tls = tls
        self._ca_file = ca_file
        self._stamp: Stamp | None = None
        self._channels: list[grpc.aio.Channel] = []  # streams on older ones go on; a file changes a few times a year
        self._newest: Any = None

    def stub(self) -> Any:
        """Calls with the authorities that are in the file now.

        Raises:
            Fatal: The file could not be read yet. Later, the last authorities stay.
        """
        now = stamp([self._ca_file]) if self._ca_file else ()
        if self._newest is None or (now is not None and now != self._stamp):
            self._connect(now)
        return self._newest

    def _connect(self, now: Stamp | None) -> None:
        try:
            roots = Path(self._ca_file).read_bytes() if self._ca_file else None
        except OSError as error:
            if self._newest is None:
                raise Fatal(f"salesforce.pubsub.ca_file: {self._ca_file} cannot be read: {error.strerror}") from error
            log.warning("certificates_kept", files=[self._ca_file], reason=str(error))
            return
        self._channels.append(
            grpc.aio.secure_channel(self._endpoint, grpc.ssl_channel_credentials(roots), _OPTIONS)
            if self._tls
            else grpc.aio.insecure_channel(self._endpoint, _OPTIONS)
        )
        self._newest, self._stamp = PubSubStub(self._channels[-1]), now  # type: ignore[no-untyped-call]

    async def close(self) -> None:
        """Ends every call."""
        for channel in self._channels:
            await channel.close()
