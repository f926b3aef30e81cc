"""`connector demo`: made-up customers all the way round, on a real broker, and a table of what happened to each."""

from pathlib import Path
from typing import Annotated

import typer

_WIDTH = 132  # columns of the table where no terminal says how many there are


def demo(
    file: Annotated[Path, typer.Argument(help="The configuration to run.")] = Path("examples/closed-case.yaml"),
) -> None:
    """Run a configuration against the doubles, on a broker of its own. Exit code 1 if anything went wrong."""
    import asyncio

    from rich.console import Console

    from connector.sandbox.demo import play, table

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDTH)
    with console.status("Starting …") as status:

        def say(text: str) -> None:
            if console.is_terminal:
                status.update(text)
            else:
                print(text, flush=True)

        played = asyncio.run(play(file, say))
    console.print(table(played))
    for problem in played.problems:
        console.print(f"[red]wrong:[/] {problem}")
    raise typer.Exit(1 if played.problems else 0)
