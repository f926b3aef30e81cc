"""An earlier build of the connector, checked out beside this one, to measure both in the same run."""

import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_ROOT = Path(__file__).parents[1]
_EARLIER = "16d16d8da2e6a6a490bf7e48b473b5d41a678feb"  # the last commit before the work on speed
_RUN = "from connector.cli import main; main()"


@contextmanager
def earlier_build() -> Iterator[Path | None]:
    """Gives the folder of the earlier build for as long as it is needed; None where the history does not have it.

    Put the folder into PYTHONPATH (`in_build`) to run its `connector` with this Python.
    """
    archive = subprocess.run(  # noqa: S603 - our own repository
        ["git", "-C", _ROOT, "archive", _EARLIER, "connector", "topics", "examples"],  # noqa: S607 - git from PATH
        capture_output=True,
        check=False,
    )
    if archive.returncode:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)  # noqa: S603, S607
        yield Path(folder)


def in_build(build: Path) -> Mapping[str, str]:
    """The environment in which Python imports the `connector` of this folder."""
    return {**os.environ, "PYTHONPATH": str(build)}


def connector(*arguments: str | Path) -> list[str | Path]:
    """Python's arguments for a command of the `connector` in PYTHONPATH; -P keeps it from the current folder's."""
    return ["-P", "-c", _RUN, *arguments]


THIS_BUILD = _ROOT
