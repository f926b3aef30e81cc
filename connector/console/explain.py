"""The story of a customer, a record or one of our ids: a line that says it all, and the times of all that happened."""

from contextlib import suppress
from urllib.parse import quote

from aiohttp import web

from connector.console.desk import Desk, form, text
from connector.errors import Fatal
from connector.explain import wanted
from connector.explain.words import lines, words
from connector.operate.explain import Explained, explain

_INSTEAD = "Run the stage `index`, which keeps what is looked up here (docs/explain.md), or use `connector explain`."
_MOST = 500  # facts on a page


def routes(desk: Desk) -> list[web.RouteDef]:
    """The page's addresses."""

    async def show(request: web.Request) -> web.Response:
        return await _told(desk, request, request.query.get("what", "").strip())

    async def search(request: web.Request) -> web.Response:
        """An address is personal data, so it is no part of the page's own address, which browsers and proxies keep. The
        same holds for what is no id, such as a phone number without its country."""
        what = text(await form(request), "what")
        with suppress(Fatal):
            if not wanted(what).addresses:
                raise web.HTTPSeeOther(f"/explain?what={quote(what, safe='')}")
        return await _told(desk, request, what)

    return [web.get("/explain", show), web.post("/explain", search)]


async def _told(desk: Desk, request: web.Request, what: str) -> web.Response:
    if not what:
        return desk.page(request, "explain.html", what="", problem=None, explained=None)
    try:
        asked = wanted(what)
    except Fatal as error:
        return desk.page(request, "explain.html", status=400, what="", problem=str(error), explained=None)

    async def find() -> Explained:
        return await explain(desk.config, asked)

    explained = await desk.aside.run(find, _INSTEAD)
    story = explained.story
    return desk.page(
        request,
        "explain.html",
        what=asked.name,
        problem=None,
        explained=explained,
        summary=[*lines(story)],
        facts=[(fact, words(fact, story)) for fact in story.facts[-_MOST:]],
        left=len(story.facts[:-_MOST]),
    )
