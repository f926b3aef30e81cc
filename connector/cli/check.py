"""`connector check`: validates a configuration file and describes what it does."""

from pathlib import Path
from typing import Annotated

import typer


def check(
    file: Annotated[Path, typer.Argument(help="The configuration, a YAML file.")] = Path("connector.yaml"),
    live: Annotated[
        bool,
        typer.Option("--live", help="Also compare it with Salesforce and Pisano; costs a few calls of each."),
    ] = False,
) -> None:
    """Validate a configuration file and say in words what it does. Exit code 2 if `connector run` would refuse it.

    With --live, exit code 1 if Salesforce or Pisano contradicts the file. It sends nothing.
    """
    import asyncio

    from connector.config.file import load
    from connector.surveys.plan import plan
    from connector.wiring.live import Found, compared
    from connector.wiring.shared import Shared

    config = load(file)
    print("\n".join(plan(config)))

    async def compare() -> list[Found]:
        async with Shared(config) as shared:
            return [one async for one in compared(config, shared.http, shared.rest.describe)]

    if live:
        found = asyncio.run(compare())
        print("\n".join(["", "Compared with Salesforce and Pisano", *(f"  {one}" for one in found)]))
        if any(one.level == "error" for one in found):
            raise typer.Exit(1)
