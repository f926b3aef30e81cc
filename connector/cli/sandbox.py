"""`connector sandbox`: the doubles alone, on fixed ports, for trying a configuration."""

from typing import Annotated

import typer


def sandbox(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    webhooks: Annotated[str, typer.Option(help="Where the connector listens for webhooks.")] = "http://127.0.0.1:8080",
    play: Annotated[bool, typer.Option(help="Close the made-up customers' cases as soon as somebody listens.")] = False,
) -> None:
    """Run the doubles of Salesforce and Pisano until Ctrl-C, and print the environment that points at them."""
    import asyncio  # noqa: PLC0415 - --help is quick without these
    import signal  # noqa: PLC0415

    from connector.sandbox import doubles  # noqa: PLC0415
    from connector.sandbox.story import close_cases, open_cases  # noqa: PLC0415

    async def serve() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        ports = {"rest_port": doubles.REST_PORT, "pubsub_port": doubles.PUBSUB_PORT, "pisano_port": doubles.PISANO_PORT}
        async with doubles.sandbox(host, **ports) as both:
            both.expect_webhooks_at(webhooks)
            cases = open_cases(both)
            for name, value in both.environment().items():
                print(f"export {name}={value}")
            print(f"# the customers have {len(cases)} open cases; to close one as an agent would:", flush=True)
            close = '{"entity": "Case", "record_ids": "%s", "fields": {"Status": "Closed"}}' % next(iter(cases))
            print(f"# curl {both.salesforce.login_url}/_control/update -d '{close}'", flush=True)
            while play and not both.salesforce.streams and not stop.is_set():
                await asyncio.sleep(0.2)
            if play and not stop.is_set():
                close_cases(both, cases)
            await stop.wait()

    asyncio.run(serve())
