"""Keeps a page of `docs/` that is generated from the code up to date."""

import sys
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def keep(page: Path, text: str, command: str, arguments: list[str]) -> int:
    """Writes the page, or with `--check` among the arguments only says when it is stale. Returns the exit code."""
    if "--check" not in arguments:
        page.write_text(text, encoding="utf-8")
        return 0
    stale = not page.exists() or page.read_text(encoding="utf-8") != text
    if stale:
        print(f"stale: {page.name}; run: {command}", file=sys.stderr)  # noqa: T201
    return 1 if stale else 0
