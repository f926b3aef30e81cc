"""`connector demo`: runs made-up customers through all stages on a real broker and prints what happened to each."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer


def demo(
    file: Annotated[
        Path | None, typer.Argument(help="The configuration to run.", show_default="examples/closed-case.yaml")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Go on until Ctrl-C, and print the environment for other commands.")
    ] = False,
) -> None:
    """Run a configuration against the doubles, on its own broker. Exit code 1 if anything went wrong."""
    import asyncio
    import shlex
    import signal

    from connector.cli._output import console
    from connector.observe.tracing import tracing
    from connector.paths import folder
    from connector.sandbox.demo import Played, play, table

    tracing.set_up()
    screen = console()
    with screen.status("Starting …") as status:

        def say(text: str) -> None:
            if screen.is_terminal:
                status.update(text)
            else:
                print(text, flush=True)

        def show(played: Played) -> None:
            screen.print(table(played))
            for problem in played.problems:
                screen.print(f"[red]wrong:[/] {problem}")

        async def go_on(played: Played, environment: Mapping[str, str]) -> None:
            stop = asyncio.Event()
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, stop.set)
            status.stop()
            show(played)
            for name, value in environment.items():
                print(f"export {name}={shlex.quote(value)}")
            print(f"# in another shell: connector status {path}; Ctrl-C ends all of this", flush=True)
            await stop.wait()

        path = file or folder("examples") / "closed-case.yaml"
        played = asyncio.run(play(path, say, keep=go_on if keep else None))
        tracing.stop()
    if not keep:
        show(played)
    raise typer.Exit(1 if played.problems else 0)
