"""Puts the pages together, and keeps out whoever may not see them."""

import asyncio
import math
from collections.abc import AsyncIterator
from pathlib import Path

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from connector.config.types import is_loopback
from connector.console import audit, explain, held, letters, login, overview, suppressions, surveys
from connector.console.desk import Desk, form, text
from connector.console.live import Live
from connector.console.login import WHO, Who
from connector.errors import ConnectorError, Retryable

log = structlog.get_logger(__name__)

_LARGEST = 64 * 1024  # bytes of a form: a pasted record has a few KB
_STATIC = Path(__file__).parent / "static"
_EVERYBODY = ("/login", "/healthz", "/static")  # pages for people who are not known yet
_VIEWERS_POST = {"/login", "/logout", "/explain"}
_HEADERS = {
    # Only our own files and no inline script or style: what a customer wrote can never run.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
        " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


def make_app(desk: Desk) -> web.Application:
    """The web application. Its collector looks at the service from the start of the application to its end."""
    live = Live(desk)

    async def collect(_: web.Application) -> AsyncIterator[None]:
        running = asyncio.create_task(desk.collector.run())
        yield
        running.cancel()
        await asyncio.wait([running])
        desk.aside.close()

    async def stop(_: web.Application) -> None:
        live.stop()

    app = web.Application(middlewares=[_errors(desk), _guard(desk)], client_max_size=_LARGEST)
    app.cleanup_ctx.append(collect)
    app.on_shutdown.append(stop)
    app.on_response_prepare.append(_add_headers)
    app.add_routes([web.get("/healthz", _healthz), web.static("/static", _STATIC)])
    app.add_routes([*_login_routes(desk), *live.routes()])
    for pages in (overview, letters, held, explain, surveys, suppressions, audit):
        app.add_routes(pages.routes(desk))
    return app


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)
    response.headers["Cache-Control"] = "no-cache" if request.path.startswith("/static/") else "no-store"


async def _healthz(_: web.Request) -> web.Response:
    return web.json_response({"alive": True})


def _errors(desk: Desk) -> Middleware:
    """Turns errors into pages. Our own are logged under the route: an address may hold an id."""

    @web.middleware
    async def told(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPException as answer:
            if answer.status < 400 or request.path == "/live":
                raise
            words = answer.text if answer.text and not answer.text.startswith(f"{answer.status}:") else answer.reason
            return desk.page(request, "error.html", status=answer.status, problem=words)
        except ConnectorError as error:
            status = 503 if isinstance(error, Retryable) else 400
            return desk.page(request, "error.html", status=status, problem=str(error))
        except Exception:
            resource = request.match_info.route.resource
            log.exception("request_failed", method=request.method, route=resource.canonical if resource else None)
            return desk.page(request, "error.html", status=500, problem="an error in the console; see its log")

    return told


def _guard(desk: Desk) -> Middleware:
    """Lets in whom the page is for, and takes forms only from the person's own pages."""

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        if desk.door.is_open and not _is_here(request.host):
            # a site elsewhere whose name was made to point to this machine
            raise web.HTTPForbidden(text="without a login, the console answers only as localhost or 127.0.0.1")
        if request.method == "POST" and request.headers.get("Sec-Fetch-Site", "same-origin") not in {
            "same-origin",
            "none",
        }:
            raise web.HTTPForbidden(text="this form is from another site")
        who = desk.door.who(request)
        if who:
            request[WHO] = who
        if request.path.startswith(_EVERYBODY):
            return await handler(request)
        if who is None:
            if request.method != "GET" or request.path == "/live":
                raise web.HTTPUnauthorized(text="log in first")
            raise web.HTTPSeeOther("/login")
        if request.method not in {"GET", "HEAD"}:
            await _require_own_form(desk, request, who)
        return await handler(request)

    return guarded


async def _require_own_form(desk: Desk, request: web.Request, who: Who) -> None:
    if not desk.door.has_seal(who, text(await form(request), "seal")):
        raise web.HTTPForbidden(text="this form is older than your login; load its page again")
    if not who.is_operator and request.path not in _VIEWERS_POST:
        raise web.HTTPForbidden(text=f"{who.name} is a viewer: only operators may do this")


def _is_here(host: str) -> bool:
    name, _, port = host.rpartition(":")
    return is_loopback(name if name and port.isdecimal() else host)


def _login_routes(desk: Desk) -> list[web.RouteDef]:
    async def show(request: web.Request) -> web.Response:
        return desk.page(request, "login.html", problem=None, takes_tokens=desk.door.takes_tokens)

    def refused(request: web.Request, status: int, problem: str) -> web.Response:
        takes_tokens = desk.door.takes_tokens
        return desk.page(request, "login.html", status=status, problem=problem, takes_tokens=takes_tokens)

    async def enter(request: web.Request) -> web.Response:
        token, address = text(await form(request), "token"), request.remote or ""
        if wait := math.ceil(desk.door.shut_for(address)):
            return refused(request, 429, f"too many wrong tokens: nothing was tried. Try again in {wait} s")
        session = desk.door.enter(token, address)
        if session is None:
            log.warning("login_refused", address=address)
            return refused(
                request, 401, "nobody has this token; `console.users` in the configuration has those that count"
            )
        answer = web.HTTPSeeOther("/")
        is_safe = request.secure or request.headers.get("X-Forwarded-Proto") == "https"
        answer.set_cookie(login.COOKIE, session, httponly=True, samesite="Lax", secure=is_safe, path="/")
        raise answer

    async def leave(request: web.Request) -> web.Response:
        desk.door.leave(request[WHO])
        answer = web.HTTPSeeOther("/login")
        answer.del_cookie(login.COOKIE, path="/")
        raise answer

    return [web.get("/login", show), web.post("/login", enter), web.post("/logout", leave)]
