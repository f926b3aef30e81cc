"""How an error reaches the person at the terminal."""

import sys

from connector.errors import Fatal


def report(error: Fatal) -> None:
    """To stderr. Messages are plain text: rich would read `[…]` in a value as markup."""
    print(f"connector: {error}", file=sys.stderr)
