"""The double of Salesforce as `connector sandbox --tls` runs it, and the clients that other people use."""

import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from helpers import registries

from connector.sandbox.company import Sandbox, sandbox
from connector.sandbox.doubles.salesforce import Certificate, SalesforceDouble

Environment = Mapping[str, str]


@pytest.fixture(scope="session")
def installations(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """The folder of the whole test run, whichever process of it this is."""
    own = tmp_path_factory.getbasetemp()
    root = (own.parent if hasattr(request.config, "workerinput") else own) / "clients"
    root.mkdir(exist_ok=True)
    return root


@pytest.fixture(scope="session")
def node_clients(installations: Path) -> Path:
    # avro-js, which the second needs, forgot to name a package that it uses in 1.12.2.
    return registries.npm(installations, "jsforce@3.10.16", "salesforce-pubsub-api-client@5.5.2", "avro-js@1.12.1")


@pytest.fixture(scope="session")
def python_client(installations: Path) -> Path:
    return registries.pip(installations, "simple-salesforce==1.12.10")


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Certificate, Path]:
    made, path = Certificate.make(), tmp_path / "sandbox.pem"
    path.write_bytes(made.chain)
    return made, path


@pytest.fixture
async def both(certificate: tuple[Certificate, Path]) -> AsyncIterator[Sandbox]:
    async with sandbox(certificate=certificate[0]) as both:
        yield both


@pytest.fixture
def sf(both: Sandbox) -> SalesforceDouble:
    return both.salesforce


@pytest.fixture
def environment(both: Sandbox, certificate: tuple[Certificate, Path]) -> dict[str, str]:
    """What a client's program needs: the sandbox's variables, the other flow's key, and the certificate."""
    trusted = dict.fromkeys(("NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE"), str(certificate[1]))
    user = {"SF_USERNAME": both.salesforce.username, "SF_PRIVATE_KEY": both.salesforce.jwt_private_key}
    return {"PATH": os.environ["PATH"], **both.environment(), **trusted, **user}
