"""`connector check`: validates a configuration file and describes what it does."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from connector.config import Config
    from connector.wiring.found import Found


def check(
    file: Annotated[Path, typer.Argument(help="The configuration, a YAML file.")] = Path("connector.yaml"),
    live: Annotated[
        bool,
        typer.Option("--live", help="Also ask Kafka, Salesforce and Pisano; costs a few calls of each."),
    ] = False,
) -> None:
    """Validate a configuration file and say in words what it does. Exit code 2 if `connector run` would refuse it.

    Conditions that always or never hold are told on stderr. With --live, a line says for each system what fits and what
    does not: logins, topics and rights, channels, allowances, fields, flows. Exit code 1 if something does not fit. It
    sends nothing.
    """
    import asyncio

    from connector.cli._output import warn
    from connector.config.file import load
    from connector.surveys.plan import plan

    config = load(file, warn=warn)
    print("\n".join(plan(config)))
    if live:
        found = asyncio.run(_found(config))
        print("\n".join(["", "Compared with Kafka, Salesforce and Pisano", *(f"  {one}" for one in found)]))
        if any(one.level == "error" for one in found):
            raise typer.Exit(1)


async def _found(config: "Config") -> "list[Found]":
    from connector.salesforce import PubSubClient
    from connector.wiring import live, live_systems
    from connector.wiring.shared import Shared

    async with Shared(config) as shared:
        settings = config.salesforce.pubsub
        pubsub = PubSubClient(settings.endpoint, settings.tls, shared.tokens)
        try:
            found = [one async for one in live_systems.kafka(config)]
            found += [one async for one in live_systems.salesforce(config, shared.rest.limits, pubsub.may_follow)]
            return found + [one async for one in live.compared(config, shared.http, shared.rest.describe)]
        finally:
            await pubsub.aclose()
