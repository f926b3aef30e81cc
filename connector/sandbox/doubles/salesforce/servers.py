"""The double's two servers: REST with the control API, and the Pub/Sub API. Both in plain text, or both with TLS."""

import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
from aiohttp import web

from connector.salesforce.proto import pubsub_api_pb2_grpc
from connector.sandbox.doubles.salesforce import control
from connector.sandbox.doubles.salesforce.front import Front
from connector.sandbox.doubles.salesforce.identity import Identity
from connector.sandbox.doubles.salesforce.oauth import OAuth
from connector.sandbox.doubles.salesforce.pubsub import PubSub
from connector.sandbox.doubles.salesforce.rest import Rest
from connector.sandbox.doubles.salesforce.state import State
from connector.sandbox.doubles.salesforce.tls import Certificate

_LARGEST_BODY = 8 * 1024 * 1024  # bytes; 200 records need less
_LONGEST_LINE = 65_536  # bytes of a request line or header that the server reads, so that it can refuse properly


async def serve_rest(
    state: State, oauth: OAuth, host: str, port: int, certificate: Certificate | None, stack: AsyncExitStack
) -> int:
    """Returns the port; 0 picks one. The server ends with `stack`.

    Raises:
        OSError: The server cannot listen on the port.
    """
    app = web.Application(middlewares=[Front(state).around], client_max_size=_LARGEST_BODY)
    app.router.add_post("/services/oauth2/token", oauth.token)
    Identity(state, oauth).add_to(app)
    Rest(state).add_to(app)
    control.add_to(app, state)
    runner = web.AppRunner(
        app, access_log=None, shutdown_timeout=1.0, max_line_size=_LONGEST_LINE, max_field_size=_LONGEST_LINE
    )
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    with tempfile.TemporaryDirectory() as folder:
        context = certificate.context(Path(folder)) if certificate else None
    await web.TCPSite(runner, host, port, ssl_context=context).start()
    return int(runner.addresses[0][1])


async def serve_pubsub(
    api: PubSub, host: str, port: int, certificate: Certificate | None, stack: AsyncExitStack
) -> int:
    """Like `serve_rest`."""
    server: Any = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    stack.push_async_callback(server.stop, None)
    pubsub_api_pb2_grpc.add_PubSubServicer_to_server(api, server)  # type: ignore[no-untyped-call]
    try:
        if certificate is None:
            found = server.add_insecure_port(f"{host}:{port}")
        else:
            found = server.add_secure_port(
                f"{host}:{port}", grpc.ssl_server_credentials([(certificate.key, certificate.chain)])
            )
    except RuntimeError as error:
        raise OSError(str(error)) from error
    await server.start()
    return int(found)
