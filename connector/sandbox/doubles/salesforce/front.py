"""What happens before every call: remember it, apply faults, check its size and its token (salesforce §D)."""

import re
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from connector.sandbox.doubles import control
from connector.sandbox.doubles.salesforce.model import Call, Fault
from connector.sandbox.doubles.salesforce.state import State
from connector.sandbox.doubles.salesforce.values import Problem
from connector.values import exact

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_VERSIONS = range(46, 69)  # 46.0 brought the upsert of collections; 68.0 is Winter '27
_LONGEST_URI = 16_384  # bytes, with the headers (salesforce §D3)


class _GoneError(Exception):
    """The double dropped the connection on purpose."""


class Front:
    """The middleware around all routes except the control API's."""

    def __init__(self, state: State) -> None:
        self._state = state

    @web.middleware
    async def around(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith(control.PREFIX):
            return await handler(request)
        state, what = self._state, f"{request.method} {request.raw_path}"
        call = Call(at=state.clock(), what=what, client=client(request))
        state.calls.append(call)
        fault = state.faults.take(what)
        try:
            answer = await self._suffer(request, fault) if fault and not fault.done else None
            answer = answer or await self._answer(request, handler)
            if fault and fault.done:
                answer = await self._suffer(request, fault) or answer
        except _GoneError:
            return web.Response()  # aiohttp wants a response, but has no connection to write it to
        call.status = answer.status
        return answer

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        api = request.path.startswith("/services/data/")
        try:
            if api:
                self._admit(request)
            response = (api and await self._rejected(request)) or await handler(request)
        except Problem as problem:
            response = _refuse(problem)
        except web.HTTPMethodNotAllowed as refusal:
            allowed = ",".join(sorted(refusal.allowed_methods))
            message = f"HTTP Method '{request.method}' not allowed. Allowed are {allowed}"
            response = _refuse(Problem("METHOD_NOT_ALLOWED", message, status=405))
        except web.HTTPNotFound:
            response = _refuse(Problem("NOT_FOUND", "The requested resource does not exist", status=404))
        if api:
            response.headers["Sforce-Limit-Info"] = (
                f"api-usage={self._state.api_usage}/{self._state.settings.api_limit}; api-bursts=1/750"
            )
        return response

    def _admit(self, request: web.Request) -> None:
        uri, headers = len(request.raw_path), sum(len(name) + len(value) + 4 for name, value in request.raw_headers)
        if uri > _LONGEST_URI:
            raise Problem("URI_TOO_LONG", f"URI too long: {uri} bytes", status=414)
        if uri + headers > _LONGEST_URI:
            raise Problem("HEADERS_TOO_LONG", f"URI and headers too long: {uri + headers} bytes", status=431)
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme not in {"Bearer", "OAuth"} or self._state.valid_token(token) is None:
            raise Problem("INVALID_SESSION_ID", "Session expired or invalid", status=401)
        version = request.match_info.get("version", "68.0")
        if int(version.partition(".")[0]) not in _VERSIONS:
            raise Problem("NOT_FOUND", "The requested resource does not exist", status=404)
        if request.match_info.get("object", "Case") not in self._state.store.objects:
            raise Problem("NOT_FOUND", "The requested resource does not exist", status=404)
        self._state.api_usage += 1
        if self._state.api_usage > self._state.settings.api_limit:
            raise Problem("REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.", status=403)

    async def _rejected(self, request: web.Request) -> web.StreamResponse | None:
        """The page with which a firewall before the org refuses a body that it dislikes, or None."""
        pattern = self._state.settings.firewall
        if not pattern or not re.search(pattern, (await request.read()).decode(errors="replace")):
            return None
        page = "<html><body>The requested URL was rejected. Your support ID is 1.</body></html>"
        return web.Response(status=403, text=page, content_type="text/html")

    async def _suffer(self, request: web.Request, fault: Fault) -> web.StreamResponse | None:
        """The fault's response; None if the call goes on after the delay."""
        await self._state.sleep(fault.delay)
        if fault.kind == "hang":
            await self._state.stopping.wait()
        if fault.kind is not None:
            if request.transport is not None:
                request.transport.abort()
            raise _GoneError
        if fault.status is None:
            return None
        body = fault.body
        if body is None and fault.error_code:
            body = [{"message": "a fault that was asked for", "errorCode": fault.error_code}]
        return respond(body, int(fault.status), fault.headers)


def client(request: web.Request) -> str:
    """The client name in the call's Sforce-Call-Options."""
    found = re.search(r"(?:^|[,;]\s*)client=([^,;\s]+)", request.headers.get("Sforce-Call-Options", ""))
    return found[1] if found else ""


def respond(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    text = body.encode() if isinstance(body, str) else exact.dumps(body)
    response = web.Response(status=status, body=text, content_type="application/json")
    response.headers.update(headers or {})
    return response


def _refuse(problem: Problem) -> web.Response:
    return respond([{"message": problem.message, "errorCode": problem.code, "fields": problem.fields}], problem.status)
