"""`connector demo`: runs made-up customers through all stages on a real broker and prints what happened to each."""

from pathlib import Path
from typing import Annotated

import typer


def demo(
    file: Annotated[
        Path | None, typer.Argument(help="The configuration to run.", show_default="examples/closed-case.yaml")
    ] = None,
) -> None:
    """Run a configuration against the doubles, on its own broker. Exit code 1 if anything went wrong."""
    import asyncio

    from connector.cli._output import console
    from connector.paths import folder
    from connector.sandbox.demo import play, table

    screen = console()
    with screen.status("Starting …") as status:

        def say(text: str) -> None:
            if screen.is_terminal:
                status.update(text)
            else:
                print(text, flush=True)

        played = asyncio.run(play(file or folder("examples") / "closed-case.yaml", say))
    screen.print(table(played))
    for problem in played.problems:
        screen.print(f"[red]wrong:[/] {problem}")
    raise typer.Exit(1 if played.problems else 0)
