"""The first page: where things stand. It changes while it is open."""

from collections.abc import Sequence
from typing import Any

from aiohttp import web

from connector.console.desk import Desk
from connector.console.picture import PERIODS, chart

PAGES = tuple(f"overview-{period}" for period in PERIODS)  # kinds of live pages; "" is any other
_HEAD = ("head",)
_ALL: Sequence[str] = (*_HEAD, "problems", "stages", "accounts", "outcomes", "channels", "held", "errors")


def routes(desk: Desk) -> list[web.RouteDef]:
    """The page's address."""

    async def show(request: web.Request) -> web.Response:
        asked = request.query.get("over", "1h")
        period = asked if asked in PERIODS else "1h"
        return desk.page(request, "overview.html", live=f"overview-{period}", **_values(desk, period))

    return [web.get("/", show)]


def parts(desk: Desk, page: str) -> dict[str, str]:
    """The HTML of each part that changes on a page of this kind."""
    if page not in PAGES:
        return {name: desk.part(name) for name in _HEAD}
    values = _values(desk, page.removeprefix("overview-"))
    return {name: desk.part(name, **values) for name in _ALL}


def _values(desk: Desk, period: str) -> dict[str, Any]:
    over = desk.collector.board.outcomes_over_time(period, PERIODS[period])
    return {"period": period, "periods": [*PERIODS], "chart": chart(over)}
