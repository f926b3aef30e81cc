"""Who decided what: the decisions on `connector.actions`."""

from aiohttp import web

from connector.console.desk import Desk
from connector.operate import actions

_MOST = 500  # decisions on a page


def routes(desk: Desk) -> list[web.RouteDef]:
    """The page's address."""

    async def show(request: web.Request) -> web.Response:
        found = await desk.ask(lambda: actions.trail(desk.config.kafka), "Read the topic connector.actions.")
        return desk.page(request, "audit.html", actions=found[:_MOST], total=len(found))

    return [web.get("/audit", show)]
