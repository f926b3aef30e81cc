"""The suppression list: whom no survey, or one survey, invites."""

import hashlib
import hmac

import structlog
from aiohttp import web

from connector.console.desk import Desk, form, text
from connector.console.login import WHO, Who
from connector.decisions import Suppression
from connector.operate import suppressions

log = structlog.get_logger(__name__)

_MOST = 500  # entries on a page
_INSTEAD = "Use `connector suppress`."


def routes(desk: Desk) -> list[web.RouteDef]:
    """The page's addresses."""
    page = _Suppressions(desk)
    return [
        web.get("/suppressions", page.show),
        web.post("/suppressions", page.reveal),
        web.post("/suppressions/add", page.add),
        web.post("/suppressions/remove", page.remove),
    ]


class _Suppressions:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def show(self, request: web.Request) -> web.Response:
        return await self._list(request, reveal=False)

    async def reveal(self, request: web.Request) -> web.Response:
        """Shows the addresses. It is a click, so that no link shows them, and it is logged."""
        log.warning("revealed", by=request[WHO].name, list="suppressions")
        return await self._list(request, reveal=True)

    async def _list(self, request: web.Request, *, reveal: bool) -> web.Response:
        found = await self._entries()
        shown = [(one, one.whom if reveal else suppressions.masked(one)) for one in found[:_MOST]]
        return self._desk.page(
            request,
            "suppressions.html",
            rows=[(self._name(request[WHO], one), whom, one) for one, whom in shown],
            total=len(found),
            revealed=reveal,
            surveys=[*self._desk.config.surveys],
        )

    async def add(self, request: web.Request) -> web.Response:
        fields, by = await form(request), request[WHO].name
        whom, survey, until, why = (text(fields, name) for name in ("whom", "survey", "until", "why"))

        async def do() -> tuple[list[str], bool]:
            config, end = self._desk.config, suppressions.moment(until) if until else None
            entry = suppressions.new_entry(config, whom, survey=survey or None, until=end, why=why or None, by=by)
            await self._desk.ask(lambda: suppressions.write(config.kafka, [entry]), _INSTEAD)
            return ["added; senders know it within a second"], True

        return await self._desk.act("/suppressions", do)

    async def remove(self, request: web.Request) -> web.Response:
        fields, who = await form(request), request[WHO]
        name = text(fields, "entry")

        async def do() -> tuple[list[str], bool]:
            known = {self._name(who, one): one for one in await self._entries()}
            if name not in known:
                return [suppressions.GONE], False
            entry = known[name]
            # this row alone: what an erasure left of the same person has its own
            await self._desk.ask(lambda: suppressions.end(self._desk.config, [entry], by=who.name), _INSTEAD)
            return ["removed"], True

        return await self._desk.act("/suppressions", do)

    async def _entries(self) -> list[Suppression]:
        found = await self._desk.ask(lambda: suppressions.entries(self._desk.config.kafka), _INSTEAD)
        return sorted(found, key=lambda one: one.at, reverse=True)

    def _name(self, who: Who, one: Suppression) -> str:
        """Names an entry on a page without its address, of which a plain hash could be guessed."""
        about = repr((one.whom, one.survey))
        return hmac.new(self._desk.door.seal(who).encode(), about.encode(), hashlib.sha256).hexdigest()[:32]
