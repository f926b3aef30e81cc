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
    send_test_webhook: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="With --live: also send a test to the webhooks at this public address."),
    ] = None,
    try_logins: Annotated[
        bool,
        typer.Option("--try-logins", help="With --live: also try the forms of Pisano's login, with up to 9 calls."),
    ] = False,
) -> None:
    """Validate a configuration file and say in words what it does. Exit code 2 if `connector run` would refuse it.

    Conditions that always or never hold are told on stderr. With --live, a line says for each system what fits and what
    does not: logins, topics and rights, channels, allowances, fields, flows. Exit code 1 if something does not fit. It
    sends nothing to customers.
    """
    import asyncio

    from connector.cli._output import warn
    from connector.config.file import load
    from connector.errors import Fatal
    from connector.surveys.plan import plan

    if not live and (send_test_webhook or try_logins):
        raise Fatal("--send-test-webhook and --try-logins go with --live")
    config = load(file, warn=warn)
    print("\n".join(plan(config)))
    if live:
        found = asyncio.run(_found(config, send_test_webhook, try_logins=try_logins))
        print("\n".join(["", "Compared with Kafka, Salesforce and Pisano", *(f"  {one}" for one in found)]))
        if any(one.level == "error" for one in found):
            raise typer.Exit(1)


async def _found(config: "Config", address: str | None, *, try_logins: bool) -> "list[Found]":
    from connector.salesforce import PubSubClient
    from connector.wiring import live, live_logins, live_systems, live_webhooks
    from connector.wiring.shared import Shared

    async with Shared(config) as shared:
        settings = config.salesforce.pubsub
        pubsub = PubSubClient(settings.endpoint, settings.tls, shared.tokens, ca_file=settings.ca_file)
        try:
            found = [one async for one in live_systems.kafka(config)]
            found += [one async for one in live_systems.salesforce(config, shared.rest.limits, pubsub.may_follow)]
            found += [one async for one in live.compared(config, shared.http, shared.rest.describe)]
            if try_logins:
                found += [one async for one in live_logins.settled(config, shared.http)]
            if address:
                found += [one async for one in live_webhooks.sent(config, shared.http, address)]
            return found
        finally:
            await pubsub.aclose()
