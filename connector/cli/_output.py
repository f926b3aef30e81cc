"""How a command reaches the person at the terminal."""

import sys
from typing import TYPE_CHECKING

from connector.errors import ConnectorError

if TYPE_CHECKING:
    from rich.console import Console

_WIDTH = 132  # columns of a table where no terminal says how many there are


def report(error: ConnectorError) -> None:
    """To stderr. Messages are plain text: rich would read `[…]` in a value as markup."""
    print(f"connector: {error}", file=sys.stderr)


def console() -> "Console":
    """For tables, on stdout."""
    from rich.console import Console

    on_terminal = Console(highlight=False)
    return on_terminal if on_terminal.is_terminal else Console(highlight=False, width=_WIDTH)
