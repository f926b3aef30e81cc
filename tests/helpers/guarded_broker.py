"""A local broker that lets each user do only what ACLs allow (Kafka's StandardAuthorizer), by every way to log in."""

import re
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka.protocol.admin import CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest

from connector.config import Kafka
from connector.kafka.acls import Right
from connector.kafka.connection import admin_client
from connector.sandbox.broker import LocalBroker, _local, kafka_broker
from helpers.certificates import Authority
from helpers.oidc import AUDIENCE, ISSUER, SECRET, Issuer
from helpers.waiting import until

USER, PASSWORD = "service", "made-up-password"
WHO = ("capture", "trigger", "send", "receive", "write", "index", "operator", "topics")  # users beside `service`
LOGINS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "certificate")
_LISTENERS = {"GUARDED": "SASL_PLAINTEXT", "SECURE": "SASL_SSL", "MUTUAL": "SSL"}
_USERS = " ".join(f'user_{name}="{PASSWORD}"' for name in (USER, *WHO))
_MODULES = {
    "plain": f"plain.PlainLoginModule required {_USERS};",
    "scram-sha-256": "scram.ScramLoginModule required;",
    "scram-sha-512": "scram.ScramLoginModule required;",
    "oauthbearer": "oauthbearer.OAuthBearerLoginModule required;",
}
_SETTINGS = {
    "listener.security.protocol.map": ",".join(
        ("CONTROLLER:PLAINTEXT", "PLAINTEXT:PLAINTEXT", *map(":".join, _LISTENERS.items()))
    ),
    "inter.broker.listener.name": "PLAINTEXT",
    "listener.name.guarded.sasl.enabled.mechanisms": "PLAIN",
    "listener.name.secure.sasl.enabled.mechanisms": ",".join(LOGINS[:-1]),
    **{
        f"listener.name.{listener}.{mechanism}.sasl.jaas.config": f"org.apache.kafka.common.security.{module}"
        for listener in ("guarded", "secure")
        for mechanism, module in _MODULES.items()
        if listener == "secure" or mechanism == "plain"
    },
    "listener.name.secure.oauthbearer.sasl.server.callback.handler.class": (
        "org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler"
    ),
    "listener.name.secure.oauthbearer.connections.max.reauth.ms": "3600000",  # a token's end is its connection's end
    # Named, so that the test does not depend on a version's default.
    "sasl.oauthbearer.jwt.validator.class": "org.apache.kafka.common.security.oauthbearer.BrokerJwtValidator",
    "sasl.oauthbearer.expected.audience": AUDIENCE,
    "sasl.oauthbearer.expected.issuer": ISSUER,
    "listener.name.mutual.ssl.client.auth": "required",
    "listener.name.mutual.ssl.principal.mapping.rules": "RULE:^CN=(.*)$/$1/",
    "ssl.keystore.type": "PEM",
    "ssl.truststore.type": "PEM",
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:ANONYMOUS",  # whoever comes by the unguarded listener: the broker itself and the tests
}
_LOG = "logger.acls.name=kafka.authorizer.logger\nlogger.acls.level=DEBUG\n"  # it tells what it allows, too
_ALLOWED = re.compile(r"Principal = User:(\S+) is Allowed operation = (\S+) .* on resource = (\w+):LITERAL:(\S+) for")
# The numbers that stand for these words in Kafka's protocol.
_KINDS = {"Topic": 2, "Group": 3, "Cluster": 4, "TransactionalId": 5}
_OPERATIONS = {"READ": 3, "WRITE": 4, "CREATE": 5, "DESCRIBE": 8, "DESCRIBE_CONFIGS": 10, "IDEMPOTENT_WRITE": 12}
_DENY, _ALLOW = 2, 3
_LITERAL, _PREFIXED = 3, 4


class GuardedBroker(LocalBroker):
    """`guarded` is the address where a user has to log in and needs rights. `login` says how to get there otherwise."""

    guarded = ""

    def __init__(self, java: Path, jars: Path, folder: Path) -> None:
        super().__init__(java, jars, folder)
        self._jars = jars
        self.authority = Authority(folder)
        self.issuer = Issuer()
        self._keys = self.issuer.write_keys(folder / "keys.json").as_uri()
        self._addresses: dict[str, str] = {}

    def login(self, kafka: Kafka, user: str, how: str, token_url: str = "") -> Kafka:
        """The configuration with which `user` logs in `how`, which is one of `LOGINS`."""
        address = self._addresses["MUTUAL" if how == "certificate" else "SECURE"]
        settings: dict[str, Any] = {"bootstrap_servers": address, "ssl_ca_file": str(self.authority.file)}
        if how == "certificate":
            settings |= {"security_protocol": "SSL", "ssl_cert_file": str(self.authority.certify(user))}
        elif how == "OAUTHBEARER":
            oauth = {"token_url": token_url, "client_id": user, "client_secret": SECRET, "scope": "kafka"}
            settings |= {"security_protocol": "SASL_SSL", "sasl_mechanism": how, "sasl_oauth": oauth}
        else:
            settings |= {"security_protocol": "SASL_SSL", "sasl_mechanism": how}
            settings |= {"sasl_username": user, "sasl_password": PASSWORD}
        return Kafka.model_validate({**kafka.model_dump(exclude_unset=True), **settings})

    def allowed(self) -> set[tuple[str, str, str, str]]:
        """Every operation so far that a right allowed: who, which, the resource's kind and its name."""
        return set(_ALLOWED.findall(self.log_file.read_text(errors="replace")))

    def _configure(self) -> None:
        super()._configure()
        for listener in _LISTENERS:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self._addresses[listener] = f"127.0.0.1:{probe.getsockname()[1]}"
        self.guarded = self._addresses["GUARDED"]
        own = "".join(f"{listener}://{address}," for listener, address in self._addresses.items())
        files = {
            "ssl.keystore.location": self.authority.certify("broker"),
            "ssl.truststore.location": self.authority.file,
            "sasl.oauthbearer.jwks.endpoint.url": self._keys,
        }
        text = self._properties.read_text().replace("listeners=", f"listeners={own}", 1)
        self._properties.write_text(text + "".join(f"{name}={value}\n" for name, value in files.items()))
        self._log4j.write_text(self._log4j.read_text() + _LOG)

    def _run(self, *main: str) -> subprocess.Popen[bytes]:
        users = [
            f"--add-scram={mechanism}=[name={user},password={PASSWORD}]"
            for mechanism in LOGINS[1:3]
            for user in (USER, *WHO)
        ]
        is_format = "format" in main
        return super()._run(
            f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={self._keys}",
            f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.files={self._keys}",
            *main,
            *(users if is_format else ()),
        )

    async def allow(self, resource: str, *operations: str) -> None:
        """Gives the user the right to these operations on `Topic:name`. A name that ends in * is a prefix."""
        await self._acl(CreateAclsRequest, _ALLOW, [(USER, resource, operations)])

    async def allow_all(self, rights: Iterable[tuple[str, Right]]) -> None:
        """Gives users rights."""
        listed = [(user, f"{right.kind}:{right.name}", right.operations) for user, right in rights]
        await self._acl(CreateAclsRequest, _ALLOW, listed)

    async def forbid(self, resource: str, *operations: str, user: str = USER) -> None:
        """Refuses the user these operations, whatever else allows them."""
        await self._acl(CreateAclsRequest, _DENY, [(user, resource, operations)])

    async def forbid_no_longer(self, resource: str, *operations: str, user: str = USER) -> None:
        """Takes back what `forbid` did."""
        await self._acl(DeleteAclsRequest, _DENY, [(user, resource, operations)])

    async def _acl(
        self, request: Callable[..., Any], permission: int, rights: Iterable[tuple[str, str, Iterable[str]]]
    ) -> None:
        async with admin_client(Kafka(bootstrap_servers=self.bootstrap_servers)) as admin:
            for user, resource, operation in [(user, name, one) for user, name, many in rights for one in many]:
                kind, _, name = resource.partition(":")
                pattern = _PREFIXED if name.endswith("*") else _LITERAL
                who, code = f"User:{user}", _OPERATIONS[operation]
                what = (_KINDS[kind], name.rstrip("*"), pattern, who, "*", code, permission)
                answer = (await admin._send_request(request(*what))).to_object()
                (rows,) = [rows for rows in answer.values() if isinstance(rows, list)]
                assert not any(row["error_code"] for row in rows), answer

            async def known() -> bool:
                """The controller has changed the rule; the broker learns of it a moment later."""
                answer = (await admin._send_request(DescribeAclsRequest(*what))).to_object()
                return bool(answer["resources"]) == (request is CreateAclsRequest)

            await until(known)


@asynccontextmanager
async def guarded_broker() -> AsyncIterator[GuardedBroker]:
    async with AsyncExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:  # for this start only: other brokers stay as they are
            patch.setattr(_local, "LocalBroker", GuardedBroker)
            patch.setattr(_local, "SETTINGS", {**_local.SETTINGS, **_SETTINGS})
            broker = await stack.enter_async_context(kafka_broker("local", say=print))
        assert isinstance(broker, GuardedBroker)
        yield broker
