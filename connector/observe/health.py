"""Serves the HTTP port: webhooks, and /healthz, /readyz, /status and /metrics for operators."""

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler
from prometheus_client.exposition import choose_encoder

from connector.certificates import server_context
from connector.config import Service
from connector.errors import Fatal
from connector.observe.metrics import Metrics

log = structlog.get_logger(__name__)

_HEADERS_WITHIN = 15.0  # seconds that a client may take to send a request's headers
_ANSWERED_WITHIN = 10.0  # seconds at shutdown to answer open requests: longer than Kafka and the spool take together

_unheard = logging.getLogger("connector.http")  # aiohttp would log the whole of a request that is not HTTP,
_unheard.disabled = True  # including secrets; the client gets a 400

Held = Callable[[], Mapping[str, str]]
Ready = Callable[[], Awaitable[Mapping[str, bool]]]
Status = Callable[[Mapping[str, bool]], Mapping[str, Any]]


class Server:
    """Serves from `start` to `stop`. `address` is known after `start`, and so is `figures`, where its /metrics is.

    `ready()` returns each stage's readiness, `held()` the held cells with their reasons. `status(ready)` is the page
    for `connector status`. With an `own_port`, other processes share the service's port, so /status and /metrics, which
    are about this process, are at `own_port` instead. Readiness is at both.
    """

    def __init__(
        self,
        service: Service,
        routes: Iterable[web.RouteDef],
        *,
        ready: Ready,
        metrics: Metrics,
        held: Held = dict,
        status: Status = dict,
        own_port: int | None = None,
    ) -> None:
        self._service = service
        self._ready = ready
        self._held = held
        self._status = status
        self._metrics = metrics
        health = [
            web.get("/healthz", self._healthz),
            web.get("/readyz", self._readyz),
            web.get("/readyz/{stage}", self._readyz_of),
        ]
        figures = [web.get("/status", self._status_page), web.get("/metrics", self._metrics_page)]
        if own_port is None:
            self._sites = [(service.port, False, _runner([*routes, *health, *figures]))]
        else:
            self._sites = [
                (service.port, True, _runner([*routes, *health])),
                (own_port, False, _runner([*health, *figures])),
            ]
        self.address = self.figures = ""

    async def start(self) -> None:
        """Raises Fatal when a port is taken, or a certificate or key file cannot be used."""
        context = _ssl_context(self._service)
        for port, is_shared, runner in self._sites:
            await runner.setup()
            site = web.TCPSite(runner, self._service.host, port, ssl_context=context, reuse_port=is_shared)
            try:
                await site.start()
            except OSError as error:
                await self.stop()
                raise _taken(self._service.host, port, error) from error
            self.figures = "{}://{}:{}".format("https" if context else "http", *runner.addresses[0][:2])
            self.address = self.address or self.figures

    async def stop(self) -> None:
        """Accepts no more requests, answers the open ones, then closes."""
        await asyncio.gather(*(runner.cleanup() for _, _, runner in self._sites))

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.json_response({"alive": True})

    async def _readyz(self, _: web.Request) -> web.Response:
        """Every stage's readiness. The page lists held cells, but they cause no 503, because all other cells work."""
        ready, held = await self._ready(), self._held()
        page = {**ready, "held": held} if held else dict(ready)
        return web.json_response(page, status=200 if all(ready.values()) else 503)

    async def _readyz_of(self, request: web.Request) -> web.Response:
        """One stage's readiness. A load balancer for the webhooks asks for receive, which no other stage stops."""
        stage = request.match_info["stage"]
        ready = await self._ready()
        if stage not in ready:
            return web.json_response({"error": f"{stage} does not run here"}, status=404)
        return web.json_response({stage: ready[stage]}, status=200 if ready[stage] else 503)

    async def _status_page(self, _: web.Request) -> web.Response:
        return web.json_response(self._status(await self._ready()))

    async def _metrics_page(self, request: web.Request) -> web.Response:
        """In the format of OpenMetrics if the client takes it, else in that of Prometheus."""
        for stage, is_ready in (await self._ready()).items():
            self._metrics.ready.labels(stage).set(is_ready)
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(self._metrics.registry), headers={"Content-Type": content_type})


def reserved(service: Service) -> socket.socket:
    """Holds the service's port for processes that share it, and for no other program. It takes no connections itself.

    Raises:
        Fatal: The port is taken.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(service.host, service.port, type=socket.SOCK_STREAM)[0]
        held = socket.socket(family, kind)
        try:
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.bind(address)
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # after the bind, which fails for a shared port
        except BaseException:
            held.close()
            raise
    except OSError as error:
        raise _taken(service.host, service.port, error) from error
    return held


def _taken(host: str, port: int, error: OSError) -> Fatal:
    return Fatal(
        f"cannot listen on {host}:{port}: {error.strerror or error}. "
        "Set service.port to a free one, or to 0 to have one picked."
    )


def _runner(routes: Iterable[web.RouteDef]) -> web.AppRunner:
    app = web.Application()
    # a middleware would take aiohttp more time for each webhook
    app.add_routes(
        web.RouteDef(each.method, each.path, _logging_failures(each.handler), each.kwargs) for each in routes
    )
    return web.AppRunner(
        app,
        access_log=None,
        logger=_unheard,
        keepalive_timeout=_HEADERS_WITHIN,
        shutdown_timeout=_ANSWERED_WITHIN,
        auto_decompress=False,  # aiohttp would refuse what it cannot unpack, but the answer in it must be kept
    )


def _ssl_context(service: Service) -> ssl.SSLContext | None:
    if service.tls is None:
        return None
    try:
        return server_context(service.tls.cert_file, service.tls.key_file)
    except OSError as error:
        raise Fatal(
            f"service.tls: the certificate or key file cannot be used: {error}. Use PEM files without a passphrase."
        ) from error


def _logging_failures(handler: Handler) -> Handler:
    """Logs our own errors under the route and not the address, because the address may hold a secret."""

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPException:
            raise
        except Exception:
            resource = request.match_info.route.resource
            log.exception("request_failed", method=request.method, route=resource.canonical if resource else None)
            return web.Response(status=500, text="an error in the connector; see its log\n")

    return handle
