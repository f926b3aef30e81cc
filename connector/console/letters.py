"""Dead letters: the list, one of them, and working them off by click."""

import asyncio
from urllib.parse import urlencode

import structlog
from aiohttp import web

from connector.console.aside import WITHIN
from connector.console.desk import Desk, form, text
from connector.console.login import WHO, Who
from connector.decisions import Action
from connector.errors import ConnectorError, Fatal, Retryable
from connector.operate.letters import Letter, Row, Wanted, decisions, letter_at, moment, rows
from connector.operate.masked import described
from connector.operate.work_off import Decision, Tally, obstacle, work_off

log = structlog.get_logger(__name__)

_MOST = 200  # letters on a page: nobody looks through more; filters find the others
_FILTERS = ("stage", "reason", "survey", "account", "cell", "since", "until")
_INSTEAD = "Choose a shorter time with the filter `since`, or use `connector deadletters list`."


def routes(desk: Desk) -> list[web.RouteDef]:
    """The pages' addresses."""
    pages = _Letters(desk)
    return [
        web.get("/deadletters", pages.show_list),
        web.get(r"/deadletters/{place:\d+/\d+}", pages.show_one),
        web.post(r"/deadletters/{place:\d+/\d+}", pages.reveal),
        web.post("/deadletters/retry", pages.retry),
        web.post("/deadletters/discard", pages.discard),
    ]


class _Letters:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def show_list(self, request: web.Request) -> web.Response:
        given = {name: request.query.get(name, "").strip() for name in _FILTERS}
        worked_off = request.query.get("all") == "yes"
        wanted = self._wanted(given)

        async def find() -> tuple[list[Row], int]:
            return await rows(self._desk.config, wanted, limit=_MOST, worked_off=worked_off)

        found, count = await self._desk.ask(find, _INSTEAD)
        query = urlencode(
            {name: value for name, value in given.items() if value} | ({"all": "yes"} if worked_off else {})
        )
        return self._desk.page(
            request,
            "letters.html",
            rows=found[::-1],
            total=count,
            given=given,
            worked_off=worked_off,
            back=f"/deadletters?{query}" if query else "/deadletters",
        )

    def _wanted(self, given: dict[str, str]) -> Wanted:
        now = self._desk.now()
        begin = moment(given["since"], now) if given["since"] else None
        end = moment(given["until"], now, is_end=True) if given["until"] else None
        stage, reason, survey, account, cell = (given[name] or None for name in _FILTERS[:5])
        return Wanted(stage, reason, survey, account, cell, begin, end)

    async def show_one(self, request: web.Request) -> web.Response:
        return await self._one(request, reveal=False)

    async def reveal(self, request: web.Request) -> web.Response:
        """Shows customers' values. It is a click, so that no link shows them, and it is logged."""
        log.warning("revealed", by=request[WHO].name, dead_letter=request.match_info["place"])
        return await self._one(request, reveal=True)

    async def _one(self, request: web.Request, *, reveal: bool) -> web.Response:
        place, kafka = request.match_info["place"], self._desk.config.kafka

        async def find() -> tuple[Letter, Action | None]:
            letter = await letter_at(kafka, place)
            return letter, (await decisions(kafka)).about(letter)

        letter, action = await self._desk.ask(find, f"Use `connector deadletters show {place}`.")
        return self._desk.page(
            request,
            "letter.html",
            place=place,
            letter=letter,
            is_done=action is not None,
            obstacle=obstacle(letter),
            revealed=reveal,
            described=described(letter, action, reveal=reveal),
        )

    async def retry(self, request: web.Request) -> web.Response:
        return await self._work_off(request, "retry")

    async def discard(self, request: web.Request) -> web.Response:
        return await self._work_off(request, "discard")

    async def _work_off(self, request: web.Request, decision: Decision) -> web.Response:
        fields, who = await form(request), request[WHO]
        places = [place for place in fields.getall("place", []) if isinstance(place, str)][:_MOST]
        back = text(fields, "back")
        why = text(fields, "why")

        async def do() -> tuple[list[str], bool]:
            if not places:
                raise Fatal("nothing was done: choose dead letters first")
            if decision == "discard" and not why:
                raise Fatal("nothing was done: write why. It is kept with the decision")
            tally = Tally()
            try:
                await self._do(places, decision, who, why, tally)
            except ConnectorError as error:  # what was done until then is done
                return [*tally.lines(decision), str(error)], False
            return tally.lines(decision), not tally.left

        return await self._desk.act(back if back.startswith("/deadletters") else "/deadletters", do)

    async def _do(self, places: list[str], decision: Decision, who: Who, why: str, tally: Tally) -> None:
        async def work() -> None:
            await work_off(self._desk.config, places, decision, by=who.name, why=why, sure=True, tally=tally)

        try:
            async with asyncio.timeout(WITHIN):
                await self._desk.working.acquire()
        except TimeoutError:
            raise Retryable("nothing was done: another operator works off dead letters; click again soon") from None
        try:
            await self._desk.ask(work, "Look at the list: what it does not show any more is done.")
        finally:
            self._desk.working.release()
