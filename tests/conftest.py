"""Fixtures for every test: a real broker for the whole session, and a prefix of its own for each test.

`BROKER=docker`, `BROKER=local` or `BROKER=auto` chooses the kind of broker: connector/sandbox/broker. By default it is
the one that KAFKA_BOOTSTRAP_SERVERS names, else a local one, which takes less time than one in Docker.
"""

import asyncio
import fcntl
import logging
import os
import random
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import stamina
import structlog
from helpers.class_archive import use_class_archive
from hypothesis import HealthCheck, settings

from connector.config import Kafka
from connector.kafka.connection import admin_client
from connector.sandbox.broker import Broker, Way, _container, kafka_broker
from connector.sandbox.broker._common import NotHere

_SAID = pytest.StashKey[list[str]]()

# Hypothesis' time limits are in real seconds, so a busy machine would fail tests.
settings.register_profile("default", print_blob=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("default")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    config.stash[_SAID] = []
    if config.option.hypothesis_seed is None:
        config.option.hypothesis_seed = str(random.getrandbits(32))


def pytest_sessionstart(session: pytest.Session) -> None:
    if hasattr(session.config, "workerinput"):
        return  # a process of pytest-xdist inherits it
    if use_class_archive() and not os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        os.environ.setdefault("BROKER", "local")


def pytest_report_header(config: pytest.Config) -> str:
    return f"random tests: repeat with --hypothesis-seed={config.option.hypothesis_seed}"


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):  # one of several processes: tell the one that reports
        session.config.workeroutput["said"] = session.config.stash[_SAID]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    output = getattr(node, "workeroutput", {})  # a process that was killed has said nothing
    node.config.stash[_SAID] += output.get("said", [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash[_SAID]:
        terminalreporter.write_line(f"broker: {line}")


@pytest.fixture(autouse=True)
def _seeded(request: pytest.FixtureRequest) -> None:
    random.seed(f"{request.config.option.hypothesis_seed} {request.node.nodeid}")


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    """Restores the log settings: `logs.set_up`, which every command calls, changes them for the whole process."""
    hooks, root = stamina.instrumentation.get_on_retry_hooks(), logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    stamina.instrumentation.set_on_retry_hooks(hooks)
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(scope="session")
def shared_broker(request: pytest.FixtureRequest, testrun_uid: str) -> Iterator[str]:
    """The address of one real broker for all tests, also where several processes run them.

    The first process that needs it starts it, and at its end waits for the others that use it.
    """
    place = Path(tempfile.gettempdir(), f"connector-tests-{testrun_uid}")
    with place.open("a+") as address, Path(f"{place}-users").open("w") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        fcntl.flock(address, fcntl.LOCK_EX)
        address.seek(0)
        if found := address.read():
            fcntl.flock(address, fcntl.LOCK_UN)
            yield found
            return
        with _own_broker(request.config.stash[_SAID].append) as broker:
            address.write(broker.bootstrap_servers)
            address.flush()
            fcntl.flock(address, fcntl.LOCK_UN)
            yield broker.bootstrap_servers
            fcntl.flock(users, fcntl.LOCK_EX)
            address.truncate(0)  # for one that comes now
            place.unlink()
            Path(users.name).unlink()


@contextmanager
def _own_broker(say: Callable[[str], None]) -> Iterator[Broker]:
    """A broker that does not need our event loop, so that each test uses it from its own loop."""
    way = cast(Way, os.environ.get("BROKER", "auto"))
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        context = kafka_broker(way, say=say)
        broker = runner.run(context.__aenter__())
        try:
            yield broker
        finally:
            runner.run(context.__aexit__(None, None, None))


@pytest.fixture
def bootstrap_servers(shared_broker: str, unique: str) -> Iterator[str]:
    """The broker's address. Deletes the test's topics at its end: a client's start takes longer the more there are."""
    yield shared_broker
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(_delete_topics(shared_broker, unique))


async def _delete_topics(bootstrap_servers: str, prefix: str) -> None:
    async with admin_client(Kafka(bootstrap_servers=bootstrap_servers)) as admin:
        if names := [name for name in await admin.list_topics() if name.startswith(prefix)]:
            await admin.delete_topics(names)


@pytest.fixture(scope="session")
def docker_engine() -> str:
    """The DOCKER_HOST of an engine that answers; skips the test when there is none."""
    try:
        with closing(_container.docker_engine(os.environ)):
            return _container.docker_host(os.environ)
    except NotHere as reason:
        pytest.skip(str(reason))


@pytest.fixture
def unique() -> str:
    """A prefix for topics, groups and transactional ids that no other test has."""
    return f"t{uuid.uuid4().hex[:10]}."
