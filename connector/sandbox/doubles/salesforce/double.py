"""The double itself: an org's state behind its two servers, and the streams that are open."""

from contextlib import AsyncExitStack
from typing import Any

from connector.sandbox.doubles.salesforce.model import GrpcStatus
from connector.sandbox.doubles.salesforce.oauth import OAuth
from connector.sandbox.doubles.salesforce.pubsub import PubSub
from connector.sandbox.doubles.salesforce.servers import serve_pubsub, serve_rest
from connector.sandbox.doubles.salesforce.state import State
from connector.sandbox.doubles.salesforce.subscription import RefusedError


class SalesforceDouble(State):
    """One org on two ports: `async with SalesforceDouble() as sf`. Everything it holds is made up.

    `login_url` (also the instance) and `pubsub_endpoint` (plain text) are known once it is entered. Left and entered
    again it comes back on the same ports, as after an outage. `clock`, in seconds since the epoch, decides about
    tokens, retention and all time stamps, and `sleep` makes calls late; keepalives and idle streams are in real
    seconds, so that a test makes them short. Users change records by `create`, `update`, `delete`, `undelete` and
    `publish`, several at once in one `transaction`. `/_control/` offers the same as JSON. `org` are the settings of
    `State`.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        rest_port: int = 0,
        pubsub_port: int = 0,
        *,
        jwt_public_key: str | None = None,
        **org: Any,
    ) -> None:
        super().__init__(**org)
        self.login_url = self.pubsub_endpoint = ""
        self._host, self._rest_port, self._pubsub_port = host, rest_port, pubsub_port
        self._oauth = OAuth(self, jwt_public_key)
        self._pubsub = PubSub(self)
        self._closing: AsyncExitStack

    async def __aenter__(self) -> "SalesforceDouble":
        self.stopping.clear()
        async with AsyncExitStack() as stack:
            self._rest_port = await serve_rest(self, self._oauth, self._host, self._rest_port, stack)
            self._pubsub_port = await serve_pubsub(self._pubsub, self._host, self._pubsub_port, stack)
            self._closing = stack.pop_all()
        self.login_url = f"http://{self._host}:{self._rest_port}"
        self.pubsub_endpoint = f"{self._host}:{self._pubsub_port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stopping.set()
        await self._closing.aclose()

    @property
    def jwt_private_key(self) -> str:
        """PEM of a key made for this double; empty where it was given a public key."""
        return self._oauth.private_key

    def configure(self, **changes: object) -> None:
        """Change single settings, as `configure(batch=1)`. Open streams keep to them at once."""
        super().configure(**changes)
        for subscription in self._pubsub.open(None):
            subscription.wake.set()

    def hang_streams(self, topic: str | None = None) -> None:
        """The open streams, or those of a topic, say nothing more: no event, no keepalive, no error."""
        for subscription in self._pubsub.open(topic):
            subscription.break_after(0, None)

    def break_streams(self, status: GrpcStatus = "UNAVAILABLE", error_code: str = "", topic: str | None = None) -> None:
        """The open streams end with this gRPC status, and this `error-code` without its prefix."""
        for subscription in self._pubsub.open(topic):
            subscription.break_after(0, RefusedError(status, error_code, "a fault that was asked for"))

    def lose_positions(self) -> None:
        """The org moves: streams break, and no replay id that was given out is known any more (salesforce §A4)."""
        self.break_streams("INVALID_ARGUMENT", "subscription.fetch.replayid.corrupted")
        self.log.reset()
