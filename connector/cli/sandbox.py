"""`connector sandbox`: runs only the doubles, on fixed ports, for trying a configuration."""

from pathlib import Path
from typing import Annotated

import typer


def sandbox(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    tls: Annotated[
        Path | None,
        typer.Option(help="Write a certificate into this file, and let Salesforce's double speak TLS with it."),
    ] = None,
    webhooks: Annotated[str, typer.Option(help="Where the connector listens for webhooks.")] = "http://127.0.0.1:8080",
) -> None:
    """Run the doubles of Salesforce and Pisano until Ctrl-C, and print the environment that points at them."""
    import asyncio
    import json
    import shlex
    import signal

    from connector.errors import Fatal
    from connector.sandbox import company
    from connector.sandbox.doubles.salesforce import Certificate
    from connector.sandbox.story import open_cases

    certificate = Certificate.make() if tls else None
    if certificate and tls:
        try:
            tls.write_bytes(certificate.chain)
        except OSError as error:
            raise Fatal(f"the certificate cannot be written to {tls}: {error.strerror}. Give --tls a file") from error

    async def serve() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        ports = {"rest_port": company.REST_PORT, "pubsub_port": company.PUBSUB_PORT, "pisano_port": company.PISANO_PORT}
        async with company.sandbox(host, **ports, certificate=certificate) as both:
            both.expect_webhooks_at(webhooks)
            cases = open_cases(both)
            environment = both.environment() | (_trusting(tls.resolve()) if tls else {})
            for name, value in environment.items():
                print(f"export {name}={shlex.quote(value)}")
            close = {"entity": "Case", "record_ids": next(iter(cases)), "fields": {"Status": "Closed"}}
            print(f"# the customers have {len(cases)} open cases; to close one as an agent would:")
            salesforce, pisano = environment["SF_LOGIN_URL"], environment["PISANO_BASE_URL"]
            curl = f"curl --cacert {shlex.quote(str(tls))}" if tls else "curl"
            print(f"# {curl} {salesforce}/_control/update -d '{json.dumps(close)}'")
            print("# to list everything else that the two doubles offer:")
            for address in (salesforce, pisano):
                print(f"# {curl} {address}/_control/", flush=True)
            await stop.wait()

    asyncio.run(serve())


def _trusting(certificate: Path) -> dict[str, str]:
    """The variables with which the connector, Node, Python's requests and gRPC trust the certificate."""
    names = ("SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH")
    return dict.fromkeys(names, str(certificate))
