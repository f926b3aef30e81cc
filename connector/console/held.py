"""What is held: cells, which a click lets be tried at once, brakes, and invitations whose outcome is unknown."""

import math
from typing import Literal, get_args

from aiohttp import web

from connector.console.desk import Desk, form, text
from connector.console.login import WHO
from connector.errors import Fatal
from connector.operate import actions, held

_MOST = 100  # invitations on the page
_INSTEAD = "Use `connector held list`."

Settled = Literal["sent", "resend", "drop"]
Braked = Literal["release", "drop", "spread"]


def routes(desk: Desk) -> list[web.RouteDef]:
    """The page's addresses."""

    async def show(request: web.Request) -> web.Response:
        asked = request.query.get("unknown") == "yes"
        found = await desk.ask(lambda: held.unknown(desk.config), _INSTEAD) if asked else []
        return desk.page(request, "held.html", asked=asked, unknown=found[:_MOST], more=len(found[_MOST:]))

    async def release(request: web.Request) -> web.Response:
        fields, by = await form(request), request[WHO].name
        cell, reason = text(fields, "cell"), text(fields, "reason")

        async def do() -> tuple[list[str], bool]:
            action = await desk.ask(
                lambda: held.release(desk.config, cell, by=by, reason=reason), "Use `connector held release`."
            )
            return [f"written down as the action {action.id}; the workers try {cell} now, if it is held"], True

        return await desk.act("/held", do)

    async def settle(request: web.Request) -> web.Response:
        fields, by = await form(request), request[WHO].name
        id_, reason = text(fields, "invitation"), text(fields, "reason")
        decision = next((one for one in get_args(Settled) if one == text(fields, "decision")), None)

        async def do() -> tuple[list[str], bool]:
            if decision is None or not reason:
                raise Fatal("nothing was done: choose sent, resend or drop, and write why")
            action = await desk.ask(
                lambda: actions.settle(desk.config, id_, decision, by=by, reason=reason),
                "Use `connector invitations settle`.",
            )
            return [f"written down as the action {action.id}; the account's sender carries it out once"], True

        return await desk.act("/held?unknown=yes", do)

    async def brake(request: web.Request) -> web.Response:
        fields, by = await form(request), request[WHO].name
        survey, reason = text(fields, "survey"), text(fields, "reason")
        days = _number(text(fields, "days") or "1")
        decision = next((one for one in get_args(Braked) if one == text(fields, "decision")), None)

        async def do() -> tuple[list[str], bool]:
            if decision is None or not reason:
                raise Fatal("nothing was done: choose release, drop or spread, and write why")
            action = await desk.ask(
                lambda: actions.brake(desk.config, survey, decision, days, by=by, reason=reason),
                "Use `connector invitations brake`.",
            )
            return [f"written down as the action {action.id}"], True

        return await desk.act("/held", do)

    return [
        web.get("/held", show),
        web.post("/held/release", release),
        web.post("/held/brake", brake),
        web.post("/held/settle", settle),
    ]


def _number(given: str) -> float:
    """The number, or one that no bounds hold."""
    try:
        return float(given)
    except ValueError:
        return math.nan
