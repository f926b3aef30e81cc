"""A Faust app for one stage, without the parts of Faust that we do not use. See `faust_consumer.py`."""

import asyncio
import tempfile
from pathlib import Path
from typing import Any, cast

import faust
from faust.auth import OAuthCredentials
from faust.sensors import Monitor
from faust.tables import TableManager
from mode.services import Service

from connector.config import Kafka
from connector.kafka.faust_consumer import Consumer, Offsets, Transport
from connector.kafka.login import ssl_context, token_provider

_LONGEST_HOLD = 86_400.0  # seconds that an agent may block on a full queue; then Kafka would drop the consumer silently
_SESSION = 10.0  # seconds that a killed worker's partitions lie idle; heartbeats have a thread of their own
_METADATA = 30_000  # milliseconds until a new partition is noticed; nobody reads its records until then
_FAUST_BUFFER = 4  # batches that Faust holds per stream, on top of our own limit


class _NoTables(TableManager):
    """We have no tables, so the start need not wait a second for somebody to register them."""

    async def on_start(self) -> None:
        await self._update_channels()
        await self.recovery.start()


class _NoMonitor(Monitor):
    """We have our own metrics. Faust's would cost time for each record, and wake the process each second."""

    @Service.task
    async def _sampler(self) -> None:
        """Ends at once."""

    def on_message_in(self, *_: Any) -> None:
        """Counts nothing."""

    def on_message_out(self, *_: Any) -> None:
        """Counts nothing."""

    def on_stream_event_in(self, *_: Any) -> dict[str, Any] | None:
        """Counts nothing."""
        return None

    def on_stream_event_out(self, *_: Any) -> None:
        """Counts nothing."""


def faust_app(kafka: Kafka, name: str, offsets: Offsets) -> faust.App:
    """A Faust app for one stage on the running loop, not started. Its consumer group is the prefix and `name`."""
    app = faust.App(
        kafka.topic_prefix + name,
        broker=[f"kafka://{server}" for server in kafka.bootstrap_servers.split(",")],
        broker_credentials=_credentials(kafka),
        broker_max_poll_interval=_LONGEST_HOLD,
        broker_session_timeout=_SESSION,
        broker_heartbeat_interval=_SESSION / 4,
        broker_rebalance_timeout=60.0,
        broker_commit_interval=1.0,
        consumer_auto_offset_reset="earliest",
        consumer_metadata_max_age_ms=_METADATA,
        stream_buffer_maxsize=_FAUST_BUFFER,
        stream_wait_empty=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        autodiscover=False,
        datadir=str(Path(tempfile.gettempdir()) / "connector-faust"),  # Faust makes one even for an app without tables
        set_as_current=False,
        loop=asyncio.get_running_loop(),
        TableManager=_NoTables,
        Monitor=_NoMonitor,
    )
    app.transport = Transport(app.conf.broker_consumer, app, app.loop)
    cast(Consumer, app.consumer).offsets = offsets
    return app


def _credentials(kafka: Kafka) -> Any:
    if kafka.security_protocol == "PLAINTEXT":
        return None
    context = ssl_context(kafka)
    if kafka.security_protocol == "SSL":
        return faust.SSLCredentials(context=context)
    if tokens := token_provider(kafka):
        return OAuthCredentials(oauth_cb=tokens, ssl_context=context)
    return faust.SASLCredentials(
        username=kafka.sasl_username,
        password=kafka.sasl_password.get_secret_value() if kafka.sasl_password else None,
        mechanism=kafka.sasl_mechanism,
        ssl_context=context,
    )
