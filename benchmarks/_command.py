"""Shared by the benchmarks: --quick, --json, a table, and exit code 2 with one message when a benchmark cannot run.

Import this before anything that is not in the standard library.
"""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

sys.path.append(str(Path(__file__).parents[1] / "tests"))  # the benchmarks use the tests' helpers

try:
    import helpers  # noqa: F401 - only checks that the module is there
    from rich.console import Console
    from rich.table import Table

    from connector.errors import Fatal
    from connector.observe import logs
except ImportError as error:
    print(f"cannot run: {error}. Set the checkout up with `make check`, and use its .venv/bin/python.", file=sys.stderr)
    sys.exit(2)

logs.set_up("error")  # before any module imports grpc

_WIDTH = 110  # columns of the table when the output is not a terminal


@dataclass(frozen=True)
class Result:
    """The figures as a JSON object and as a table, and each part of the claim that they contradict."""

    figures: dict[str, Any]
    table: Table
    contradictions: list[str]


def main(description: str, measure: Callable[[bool], Result]) -> NoReturn:
    """Calls `measure(quick)` and prints its result. Exits with 1 when the claim does not hold."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="less of it, in under a minute")
    parser.add_argument("--json", action="store_true", help="the figures as one JSON object on the last line")
    arguments = parser.parse_args()
    try:
        result = measure(arguments.quick)
    except Fatal as error:
        say(f"cannot run: {error}")
        sys.exit(2)
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDTH)
    console.print(result.table)
    for contradiction in result.contradictions:
        say(f"the claim does not hold: {contradiction}")
    if arguments.json:
        print(json.dumps(result.figures))
    sys.exit(1 if result.contradictions else 0)


def say(line: str) -> None:
    """Prints progress and problems to stderr; the result goes to stdout."""
    print(line, file=sys.stderr, flush=True)
