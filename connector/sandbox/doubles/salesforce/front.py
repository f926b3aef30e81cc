"""What happens around every call: remember it, apply faults, and refuse in Salesforce's form (salesforce §D4)."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from connector.sandbox.doubles import control
from connector.sandbox.doubles.salesforce.model import Call, Fault
from connector.sandbox.doubles.salesforce.rest_calls import client, not_found, problems, respond
from connector.sandbox.doubles.salesforce.state import State
from connector.sandbox.doubles.salesforce.values import Problem

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


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
        call = Call(at=state.clock(), what=what, client=client(request.headers))
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
        try:
            return await handler(request)
        except Problem as problem:
            refused = problem
        except web.HTTPMethodNotAllowed as refusal:
            allowed = ",".join(sorted(refusal.allowed_methods))
            message = f"HTTP Method '{request.method}' not allowed. Allowed are {allowed}"
            refused = Problem("METHOD_NOT_ALLOWED", message, status=405)
        except web.HTTPNotFound:
            refused = not_found()
        return respond(problems(refused), refused.status)

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
