"""The part of Pisano's HTTP API that the connector uses (pisano §2, §3, §5, §6)."""

import hmac
import re
import secrets
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

from aiohttp import web

from connector.sandbox.doubles import control
from connector.sandbox.doubles.pisano.checks import LISTS, Sharing, link_problems, problems
from connector.sandbox.doubles.pisano.model import Call, Campaign, Channel, Email, Fault, Flow
from connector.sandbox.doubles.pisano.state import State
from connector.values import exact

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_KINDS = ("token", "email_sharings", "sms_sharings", "link_sharings", "flows")
_NUMBER = web.RequestKey("number", int)  # of the call, in the double's memory


class _Refused(Exception):
    def __init__(self, status: int, *errors: str) -> None:
        super().__init__(*errors)
        self.status, self.errors = status, errors


class _Gone(Exception):
    """The double dropped the connection, so the client gets no answer."""


class Api:
    def __init__(self, state: State) -> None:
        self._state = state

    def add_to(self, app: web.Application) -> None:
        app.middlewares.append(self._meet)
        app.router.add_post("/v1/authorized_apps/token", self._token, name="token")
        for slash in ("", "/"):  # the sources disagree about the slash (pisano §3)
            for channel in LISTS:
                path = f"/v1/{channel}_campaigns/{{campaign}}/{channel}_sharings{slash}"
                app.router.add_post(path, partial(self._share, channel))
        app.router.add_post("/external/v1/link_sharings/{campaign}/generate_link", self._link)
        app.router.add_get("/external/v1/flows/{flow}", self._flow)

    @web.middleware
    async def _meet(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Count the call, apply the limits, and apply a fault before or after the call is carried out."""
        if request.path.startswith(control.PREFIX):
            return await handler(request)
        state = self._state
        now = state.clock()
        call = Call(at=now, method=request.method, path=request.path, exceeded=state.windows.count(now))
        request[_NUMBER] = len(state.calls)
        state.calls.append(call)
        try:
            if call.exceeded:
                response: web.StreamResponse = self._throttled(call.exceeded[0], now)
            else:
                response = await self._carry_out(request, handler)
        except _Gone:
            return web.Response()  # aiohttp wants a response, but has no connection to write it to
        call.status = response.status
        return response

    async def _carry_out(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        kind = next((kind for kind in _KINDS if f"/{kind}" in request.path), "")
        fault = self._state.take_fault(kind)
        if fault is not None and not fault.sent:
            answer = await self._suffer(request, fault)
            if answer is not None:
                return answer
        try:
            response = await handler(request)
        except _Refused as refusal:
            response = _answer(refusal.status, {"errors": refusal.errors})
        except web.HTTPException as unrouted:
            response = _answer(unrouted.status, {"errors": [unrouted.reason]})
        if fault is not None and fault.sent:
            return await self._suffer(request, fault) or response
        return response

    async def _suffer(self, request: web.Request, fault: Fault) -> web.Response | None:
        """The fault's response; None if the call goes on after the delay."""
        await self._state.sleep(fault.delay)
        if fault.kind == "hang":
            await self._state.stopping.wait()
        if fault.kind is not None:
            if request.transport is not None:
                request.transport.abort()
            raise _Gone
        if fault.status is None:
            return None
        return web.Response(status=fault.status, text=fault.body, headers=fault.headers)

    def _throttled(self, exceeded: str, now: float) -> web.Response:
        headers = {}
        if self._state.settings.retry_after:
            headers["Retry-After"] = str(self._state.windows.retry_after(exceeded, now))
        return web.Response(status=429, text="Retry later\n", content_type="text/plain", headers=headers)

    async def _token(self, request: web.Request) -> web.Response:
        settings, now = self._state.settings, self._state.clock()
        given = await _json(request)
        if not isinstance(given, dict) or not {settings.id_key, settings.secret_key} <= given.keys():
            raise _Refused(422, f"{settings.id_key} and {settings.secret_key} are required")
        wanted = (self._state.app_id, self._state.app_secret)
        pairs = zip((given[settings.id_key], given[settings.secret_key]), wanted, strict=True)
        if not all(hmac.compare_digest(str(have).encode(), want.encode()) for have, want in pairs):
            raise _Refused(401, "unknown application")
        token = secrets.token_urlsafe(24)
        expires = self._state.tokens[token] = now + settings.token_lifetime
        moment: float | str = settings.token_lifetime
        if settings.expiry_key != "expires_in":
            moment = expires if settings.expiry_epoch else datetime.fromtimestamp(expires, UTC).isoformat()
        answer: dict[str, Any] = {settings.token_key.removeprefix("data."): token}
        if settings.expiry_key:
            answer[settings.expiry_key] = moment
        return _answer(200, {"data": answer} if settings.token_key == "data.token" else answer)  # noqa: S105

    async def _share(self, channel: Channel, request: web.Request) -> web.Response:
        state, settings = self._state, self._state.settings
        name, campaign, body = await self._meant(request, channel)
        found = problems(body, state.flows.get(campaign.flow, Flow()), self._sharing(channel), settings.attributes)
        self._refuse(found)
        addresses = body[LISTS[channel]]
        for address in addresses:
            if address not in settings.suppressed:
                state.email(
                    Email(
                        channel=channel,
                        at=state.clock(),
                        call=request[_NUMBER],
                        campaign=name,
                        address=address,
                        custom_attributes=body.get("custom_attributes", {}).get(address, {}),
                        built_in_responses=body.get("built_in_responses", {}).get(address, {}),
                    )
                )
        key = "email" if channel == "email" else "phone_number"
        refused = [{key: address} for address in addresses if address in settings.suppressed]
        listed = {**settings.success_body, settings.refused_key: refused} if settings.refused_key else None
        return _answer(settings.success_status, listed or settings.success_body)

    async def _link(self, request: web.Request) -> web.Response:
        state = self._state
        name, campaign, body = await self._meant(request, "link")
        self._refuse(link_problems(body, state.flows.get(campaign.flow, Flow()), self._sharing("link")))
        customer, url = body["customer"], f"https://psn.example/{secrets.token_urlsafe(6)}"
        state.email(
            Email(
                channel="link",
                at=state.clock(),
                call=request[_NUMBER],
                campaign=name,
                address=customer.get("email") or customer.get("phone_number") or "",
                custom_attributes=customer,
                built_in_responses=body.get("built_in_responses", {}),
                url=url,
            )
        )
        text = exact.dumps(state.settings.link_body).replace(b"LINK", url.encode())
        return web.Response(status=state.settings.success_status, body=text, content_type="application/json")

    async def _meant(self, request: web.Request, channel: Channel) -> tuple[str, Campaign, Any]:
        """The campaign, which can send, and the call's body."""
        self._authenticate(request)
        name = request.match_info["campaign"]
        campaign = self._state.campaigns.get(name)
        if campaign is None or campaign.channel != channel:
            raise _Refused(404, "not found")
        body = await _json(request)
        if not campaign.provider:
            raise _Refused(422, "the campaign has no provider")
        if not campaign.channel_active:
            raise _Refused(422, "the campaign's delivery channel is not active")
        return name, campaign, body

    def _sharing(self, channel: Channel) -> Sharing:
        return Sharing(channel, self._state.settings.max_emails, self._state.settings.phone_form)

    def _refuse(self, found: list[str]) -> None:
        if found:
            raise _Refused(422, *(found if self._state.settings.names_culprit else ["unprocessable entity"]))

    async def _flow(self, request: web.Request) -> web.Response:
        self._authenticate(request)
        name = request.match_info["flow"]
        flow = self._state.flows.get(name)
        if flow is None:
            raise _Refused(404, "not found")
        questions = [
            {"key": q.key, "options": [{"key": option} for option in q.options], **self._typed(q.type)}
            for q in flow.questions
        ]
        return _answer(200, {"id": name, "questions": questions})

    def _typed(self, kind: str) -> dict[str, str]:
        return {"type": kind.replace("datetime", "date time")} if self._state.settings.flow_types else {}

    def _authenticate(self, request: web.Request) -> None:
        """Accepts both schemes as Rails reads them: an unquoted token ends at the first , ; or TAB (pisano §2.2)."""
        given = re.fullmatch(
            r'(?:Bearer|Token)\s+(?:token\s*=\s*)?(?:"([^"]*)"|([^,;\t"]*).*)', request.headers.get("Authorization", "")
        )
        token = (given[1] or given[2] or "") if given else ""
        static = hmac.compare_digest(token.encode(), self._state.static_token.encode())
        if not static and self._state.tokens.get(token, 0.0) <= self._state.clock():
            raise _Refused(401, "invalid or expired token")


async def _json(request: web.Request) -> Any:
    if request.content_type != "application/json":
        raise _Refused(415, "Content-Type is not application/json")
    try:
        return exact.loads(await request.read())
    except ValueError as error:
        raise _Refused(400, f"not JSON: {error}") from None


def _answer(status: int, body: Any) -> web.Response:
    return web.Response(status=status, body=exact.dumps(body), content_type="application/json")
