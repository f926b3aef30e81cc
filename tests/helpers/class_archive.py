"""Kafka's classes, loaded and checked once for all brokers that the tests start: each start takes a second less.

Java reads JAVA_TOOL_OPTIONS, and goes on without an archive that does not fit it.
"""

import asyncio
import hashlib
import os
from pathlib import Path

import pytest

from connector.errors import Fatal
from connector.sandbox.broker import LocalBroker, kafka_broker
from connector.sandbox.broker._common import NotHere
from connector.sandbox.broker._jars import java_and_jars

_QUIET = "-Xshare:auto -Xlog:disable"  # the Java of other programs need not hear of it


def use_class_archive() -> bool:
    """Lets every local broker of this process and its children use the archive. Makes it the first time: 10 s.

    False where no local broker can start; the tests that need one will say why.
    """
    try:
        archive = asyncio.run(_archive())
    except (NotHere, Fatal):
        return False
    if archive.stat().st_size:
        os.environ["JAVA_TOOL_OPTIONS"] = f"{_QUIET} -XX:SharedArchiveFile={archive}"
    return True


async def _archive() -> Path:
    java, jars = await java_and_jars(os.environ, print)
    real = java.resolve()
    its = hashlib.sha256(f"{real} {real.stat().st_mtime_ns}".encode()).hexdigest()[:8]
    archive = jars.with_name(f"{jars.name}-{its}.jsa")
    if not archive.exists():
        made = archive.with_suffix(f".{os.getpid()}")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("JAVA_TOOL_OPTIONS", f"{_QUIET} -XX:ArchiveClassesAtExit={made}")
            async with kafka_broker("local") as broker:
                assert isinstance(broker, LocalBroker)
                await broker.stop()
        made.touch()  # not every Java can make one
        made.rename(archive)
    return archive
