"""How commands print errors and tables, and who calls them."""

import getpass
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from connector.errors import ConnectorError, Fatal

if TYPE_CHECKING:
    from rich.console import Console

_WIDTH = 132  # columns of a table when there is no terminal to give the width


CANNOT_RUN = 2  # the exit code after what only a person can fix


def report(error: ConnectorError) -> None:
    """Prints the error to stderr as plain text: rich would read `[…]` in a value as markup."""
    print(f"connector: {error}", file=sys.stderr)


def exit_with(error: ConnectorError) -> NoReturn:
    """Prints the error, and ends with 2 if a person must fix it, or 1 if it may go away by itself."""
    report(error)
    sys.exit(CANNOT_RUN if isinstance(error, Fatal) else 1)


def warn(message: str) -> None:
    """Prints to stderr what can be run and is hardly meant."""
    print(f"connector: warning: {message}", file=sys.stderr)


def console() -> "Console":
    """The rich console for tables, on stdout."""
    from rich.console import Console

    on_terminal = Console(highlight=False)
    return on_terminal if on_terminal.is_terminal else Console(highlight=False, width=_WIDTH)


def user() -> str:
    """The name of the user who calls, for the record of a decision."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container may have no user of this number
        return "unknown"


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr, if that is a terminal; call the result with how much is done, and how much there is.

    It shows with the first call.
    """
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:
        bar = bars.add_task(what, total=None, visible=False)
        yield lambda done, total: bars.update(bar, completed=done, total=total, visible=True)
