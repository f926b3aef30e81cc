"""Fetches the jars that a POM names, where Maven is missing.

`python -m connector.sandbox.broker._python_maven POM FOLDER` is a process of its own, because jgo blocks and cannot be
cancelled. It prints one sentence and exits with 1 when it fails; the folder is not complete then.
"""

import sys
import zipfile
from pathlib import Path

import requests
from jgo.maven import POM, MavenContext

_ANSWERS_WITHIN = 30  # seconds that Maven Central may be silent

# The first class that fits says what to do. `requests` puts them under one root.
_ADVICE: tuple[tuple[type[Exception], str], ...] = (
    (requests.exceptions.ProxyError, "the proxy that HTTPS_PROXY names did not let us through"),
    (
        requests.exceptions.SSLError,
        "the certificate is not trusted; REQUESTS_CA_BUNDLE can name a file of other roots",
    ),
    (requests.exceptions.Timeout, f"no answer came within {_ANSWERS_WITHIN} s"),
    (requests.exceptions.RequestException, "the connection failed or was cut off"),
    (zipfile.BadZipFile, "something on the way answered with other content (a log-in page of a network?)"),
    (RuntimeError, "the repository does not have it"),  # what jgo raises for a status other than 200
)


def fetch(pom: Path, folder: Path) -> None:
    """Copies the runtime jars of the POM's dependencies, with theirs, into the folder. They come from Maven Central.

    The POM itself is resolved, and not a list of its dependencies: jgo would import each one's managed versions, and
    log4j's name an old kafka-clients.

    Raises:
        requests.RequestException, RuntimeError: a jar cannot be fetched.
        zipfile.BadZipFile: what came is no jar. jgo compares checksums but only logs a difference.
    """
    folder.mkdir()
    context = MavenContext(repo_cache=folder.parent / "repository", timeout=_ANSWERS_WITHIN)
    for node in context.pom_dependency_list(POM(pom))[1]:
        jar = node.dep.artifact.resolve()
        require_whole(jar)
        jar.rename(folder / jar.name)


def require_whole(jar: Path) -> None:
    """Raises zipfile.BadZipFile when this is no jar, or a file in it is not what its checksum says."""
    with zipfile.ZipFile(jar) as archive:
        if broken := archive.testzip():
            raise zipfile.BadZipFile(f"{broken} in {jar.name} is damaged")


def main() -> None:
    try:
        fetch(*map(Path, sys.argv[1:]))
    except tuple(kind for kind, _ in _ADVICE) as error:
        advice = next(advice for kind, advice in _ADVICE if isinstance(error, kind))
        sys.exit(f"{advice} ({type(error).__name__}: {str(error)[:300]})")


if __name__ == "__main__":
    main()
