"""The double itself: two servers, the state of one org, and the open streams."""

from contextlib import AsyncExitStack
from typing import Any

from connector.sandbox.doubles.salesforce.model import GrpcStatus
from connector.sandbox.doubles.salesforce.oauth import OAuth
from connector.sandbox.doubles.salesforce.pubsub import PubSub
from connector.sandbox.doubles.salesforce.servers import serve_pubsub, serve_rest
from connector.sandbox.doubles.salesforce.state import State
from connector.sandbox.doubles.salesforce.subscription import RefusedError
from connector.sandbox.doubles.salesforce.tls import Certificate


class SalesforceDouble(State):
    """One org on two ports: `async with SalesforceDouble() as sf`. Everything it holds is made up.

    `login_url` (also the instance) and `pubsub_endpoint` are set on entry; with a `certificate` both speak TLS, else
    plain text. Left and entered again, the double comes back on the same ports, as after an outage. `clock`, in seconds
    since the epoch, sets the time of tokens, retention and all time stamps, and `sleep` makes calls late. Keepalives
    and idle streams use real seconds, so a test sets them short. Users change records with `create`, `update`,
    `delete`, `undelete` and `publish`; `transaction` groups several changes. `/_control/` offers the same as JSON.
    `org` holds the settings of `State`.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        rest_port: int = 0,
        pubsub_port: int = 0,
        *,
        jwt_public_key: str | None = None,
        certificate: Certificate | None = None,
        **org: Any,
    ) -> None:
        super().__init__(**org)
        self.login_url = self.pubsub_endpoint = ""
        self._certificate = certificate
        self._host, self._rest_port, self._pubsub_port = host, rest_port, pubsub_port
        self._oauth = OAuth(self, jwt_public_key)
        self._pubsub = PubSub(self)
        self._closing: AsyncExitStack

    async def __aenter__(self) -> "SalesforceDouble":
        self.stopping.clear()
        async with AsyncExitStack() as stack:
            tls = self._certificate
            self._rest_port = await serve_rest(self, self._oauth, self._host, self._rest_port, tls, stack)
            self._pubsub_port = await serve_pubsub(self._pubsub, self._host, self._pubsub_port, tls, stack)
            self._closing = stack.pop_all()
        self.login_url = f"{'https' if self._certificate else 'http'}://{self._host}:{self._rest_port}"
        self.pubsub_endpoint = f"{self._host}:{self._pubsub_port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stopping.set()
        await self._closing.aclose()

    @property
    def jwt_private_key(self) -> str:
        """PEM of a key made for this double; empty when it was given a public key."""
        return self._oauth.private_key

    def configure(self, **changes: object) -> None:
        """Change single settings, such as `configure(batch=1)`. Open streams follow them at once."""
        super().configure(**changes)
        for subscription in self._pubsub.open(None):
            subscription.wake.set()

    def hang_streams(self, topic: str | None = None) -> None:
        """Make all open streams, or those of a topic, silent: no event, no keepalive, no error."""
        for subscription in self._pubsub.open(topic):
            subscription.break_after(0, None)

    def break_streams(self, status: GrpcStatus = "UNAVAILABLE", error_code: str = "", topic: str | None = None) -> None:
        """End the open streams with this gRPC status, and this `error-code` without its prefix."""
        for subscription in self._pubsub.open(topic):
            subscription.break_after(0, RefusedError(status, error_code, "a fault that was asked for"))

    def lose_positions(self) -> None:
        """The org moves: streams break, and all replay ids given out so far become unknown (salesforce §A4)."""
        self.break_streams("INVALID_ARGUMENT", "subscription.fetch.replayid.corrupted")
        self.log.reset()
