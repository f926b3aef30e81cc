"""`connector check`: validates a configuration file and describes what it does."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from connector.config import Config
    from connector.wiring.live import Found


def check(
    file: Annotated[Path, typer.Argument(help="The configuration, a YAML file.")] = Path("connector.yaml"),
    live: Annotated[
        bool,
        typer.Option("--live", help="Also compare it with Salesforce and Pisano; costs a few calls of each."),
    ] = False,
) -> None:
    """Validate a configuration file and say in words what it does. Exit code 2 if `connector run` would refuse it.

    Conditions that always or never hold are told on stderr. With --live, exit code 1 if Salesforce or Pisano
    contradicts the file. It sends nothing.
    """
    import asyncio

    from connector.cli._output import warn
    from connector.config.file import load
    from connector.surveys.plan import plan

    config = load(file, warn=warn)
    print("\n".join(plan(config)))
    if live:
        found = asyncio.run(_found(config))
        lines = [f"  {one}" for one in found] or ["  Nothing contradicts the file."]
        print("\n".join(["", "Compared with Salesforce and Pisano", *lines]))
        if any(one.level == "error" for one in found):
            raise typer.Exit(1)


async def _found(config: "Config") -> "list[Found]":
    from connector.wiring.live import compared
    from connector.wiring.shared import Shared

    async with Shared(config) as shared:
        return [one async for one in compared(config, shared.http, shared.rest.describe)]
