"""A local broker that lets each user do only what ACLs allow: SASL PLAIN and Kafka's StandardAuthorizer."""

import socket
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka.protocol.admin import CreateAclsRequest, DeleteAclsRequest

from connector.config import Kafka
from connector.kafka.connection import admin_client
from connector.sandbox.broker import LocalBroker, _local, kafka_broker

USER, PASSWORD = "service", "made-up-password"
_USERS = f'username="admin" password="made-up" user_admin="made-up" user_{USER}="{PASSWORD}"'
_SETTINGS = {
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,GUARDED:SASL_PLAINTEXT",
    "inter.broker.listener.name": "PLAINTEXT",
    "sasl.enabled.mechanisms": "PLAIN",
    "listener.name.guarded.plain.sasl.jaas.config": (
        f"org.apache.kafka.common.security.plain.PlainLoginModule required {_USERS};"
    ),
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:ANONYMOUS",  # whoever comes by the unguarded listener: the broker itself and the tests
}
# The numbers that stand for these words in Kafka's protocol.
_KINDS = {"Topic": 2, "Group": 3, "TransactionalId": 5}
_OPERATIONS = {"READ": 3, "WRITE": 4, "CREATE": 5, "DESCRIBE": 8, "DESCRIBE_CONFIGS": 10}
_DENY, _ALLOW = 2, 3
_LITERAL, _PREFIXED = 3, 4


class GuardedBroker(LocalBroker):
    """`guarded` is the address where a user has to log in and needs rights."""

    guarded = ""

    def _configure(self) -> None:
        super()._configure()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.guarded = f"127.0.0.1:{probe.getsockname()[1]}"
        text = self._properties.read_text().replace("listeners=", f"listeners=GUARDED://{self.guarded},", 1)
        self._properties.write_text(text)

    async def allow(self, resource: str, *operations: str) -> None:
        """Gives the user the right to these operations on `Topic:name`. A name that ends in * is a prefix."""
        await self._acl(CreateAclsRequest, _ALLOW, resource, operations)

    async def forbid(self, resource: str, *operations: str) -> None:
        """Refuses the user these operations, whatever else allows them."""
        await self._acl(CreateAclsRequest, _DENY, resource, operations)

    async def forbid_no_longer(self, resource: str, *operations: str) -> None:
        """Takes back what `forbid` did."""
        await self._acl(DeleteAclsRequest, _DENY, resource, operations)

    async def _acl(
        self, request: Callable[..., Any], permission: int, resource: str, operations: Iterable[str]
    ) -> None:
        kind, _, name = resource.partition(":")
        pattern = _PREFIXED if name.endswith("*") else _LITERAL
        async with admin_client(Kafka(bootstrap_servers=self.bootstrap_servers)) as admin:
            for operation in operations:
                what = (
                    _KINDS[kind],
                    name.rstrip("*"),
                    pattern,
                    f"User:{USER}",
                    "*",
                    _OPERATIONS[operation],
                    permission,
                )
                answer = (await admin._send_request(request(*what))).to_object()
                (rows,) = [rows for rows in answer.values() if isinstance(rows, list)]
                assert not any(row["error_code"] for row in rows), answer


@asynccontextmanager
async def guarded_broker() -> AsyncIterator[GuardedBroker]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_local, "LocalBroker", GuardedBroker)
        patch.setattr(_local, "SETTINGS", {**_local.SETTINGS, **_SETTINGS})
        async with kafka_broker("local", say=print) as broker:
            assert isinstance(broker, GuardedBroker)
            yield broker
