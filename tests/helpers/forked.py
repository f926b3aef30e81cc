"""Starts the connector as its own process by forking one that has imported it: each import takes a second of CPU."""

import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

from connector.cli import main

_FORK = multiprocessing.get_context("forkserver")
_FORK.set_forkserver_preload(["connector.cli.run", "connector.config.file", "connector.wiring", "uvloop"])
_SPAWN = multiprocessing.get_context("spawn")


def forked(
    arguments: Sequence[str], environ: Mapping[str, str], output: Path, errors: Path, *, childless: bool = True
) -> BaseProcess:
    """`connector ARGUMENTS`, with `environ` beside this environment. Its output goes to the end of the files.

    It ends with this process, unless it is not `childless`: then it imports everything anew, and must be killed.
    """
    context = _FORK if childless else _SPAWN
    own = {**os.environ, **environ}
    process = context.Process(target=_main, args=(arguments, own, Path.cwd(), output, errors), daemon=childless)
    process.start()
    return process


def _main(arguments: Sequence[str], environ: Mapping[str, str], folder: Path, output: Path, errors: Path) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)
    for number, file in ((1, output), (2, errors)):
        with file.open("ab") as opened:
            os.dup2(opened.fileno(), number)
    sys.argv = ["connector", *arguments]
    main()
