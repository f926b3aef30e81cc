"""The door of the REST API: which calls it admits, and which handler answers (salesforce §D)."""

import re
from dataclasses import replace

from aiohttp import web

from connector.sandbox.doubles.salesforce import describe
from connector.sandbox.doubles.salesforce.composite import Composite
from connector.sandbox.doubles.salesforce.managed import ManagedSubscriptions
from connector.sandbox.doubles.salesforce.queries import Queries
from connector.sandbox.doubles.salesforce.records import Records
from connector.sandbox.doubles.salesforce.rest_calls import Answer, Ask, Table, not_found, problems, respond
from connector.sandbox.doubles.salesforce.state import State
from connector.sandbox.doubles.salesforce.values import Problem
from connector.sandbox.doubles.salesforce.writes import Writes

_VERSIONS = range(46, 69)  # 46.0 brought the upsert of collections; 68.0 is Winter '27
_SEASONS = ("Spring", "Summer", "Winter")
_LONGEST_URI = 16_384  # bytes, with the headers (salesforce §D3)
_VERSIONED = re.compile(r"/services/data/v(?P<version>[0-9]+[.]0)(?P<path>/.*?)?/?")


class Rest:
    """All resources under /services/data. A last slash changes nothing, and object names ignore case."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._table = table = Table()
        writes = Writes(state)
        table.add("GET", "", lambda ask: Answer({name: f"{ask.base}/{name}" for name in _RESOURCES}))
        table.add("GET", "/limits", self._limits)
        Queries(state.store, lambda: state.settings.page).add_to(table)
        describe.Describe(state).add_to(table)
        ManagedSubscriptions(state).add_to(table)
        Records(state, writes).add_to(table)
        Composite(writes, self.run).add_to(table)

    def add_to(self, app: web.Application) -> None:
        app.router.add_route("*", "/services/data{rest:/?}", _versions)
        app.router.add_route("*", "/services/data/{rest:.+}", self.answer)

    async def answer(self, request: web.Request) -> web.Response:
        """Answers a call from the wire."""
        try:
            self._admit(request)
            response = self._rejected(await request.read()) or _response(self.run(_ask(request, await request.read())))
        except Problem as problem:
            response = respond(problems(problem), problem.status)
        usage = f"api-usage={self._state.api_usage}/{self._state.settings.api_limit}; api-bursts=1/750"
        response.headers["Sforce-Limit-Info"] = usage
        return response

    def run(self, ask: Ask) -> Answer:
        """Answers an admitted call.

        Raises:
            Problem: Salesforce refuses the call.
        """
        handler, found = self._table.find(ask)
        if "object" in found.parts:
            entity = self._state.store.named(found.parts["object"])
            if entity is None:
                raise not_found()
            found = replace(found, parts={**found.parts, "object": entity.name})
        return handler(found)

    def _admit(self, request: web.Request) -> None:
        uri, headers = len(request.raw_path), sum(len(name) + len(value) + 4 for name, value in request.raw_headers)
        if uri > _LONGEST_URI:
            raise Problem("URI_TOO_LONG", f"URI too long: {uri} bytes", status=414)
        if uri + headers > _LONGEST_URI:
            raise Problem("HEADERS_TOO_LONG", f"URI and headers too long: {uri + headers} bytes", status=431)
        if self._state.bearer(request.headers) is None:
            raise Problem("INVALID_SESSION_ID", "Session expired or invalid", status=401)
        self._state.api_usage += 1
        if self._state.api_usage > self._state.settings.api_limit:
            raise Problem("REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.", status=403)

    def _rejected(self, body: bytes) -> web.Response | None:
        """The page with which a firewall before the org refuses a body that it dislikes, or None."""
        pattern = self._state.settings.firewall
        if not pattern or not re.search(pattern, body.decode(errors="replace")):
            return None
        page = "<html><body>The requested URL was rejected. Your support ID is 1.</body></html>"
        return web.Response(status=403, text=page, content_type="text/html")

    def _limits(self, _: Ask) -> Answer:
        settings = self._state.settings
        used = {
            "DailyApiRequests": (settings.api_limit, self._state.api_usage),
            "DailyDeliveredPlatformEvents": (settings.delivery_limit, self._state.delivered),
        }
        return Answer({name: {"Max": most, "Remaining": max(0, most - now)} for name, (most, now) in used.items()})


_RESOURCES = ("sobjects", "query", "queryAll", "limits", "composite", "tooling")


def _ask(request: web.Request, body: bytes) -> Ask:
    found = _VERSIONED.fullmatch(request.rel_url.raw_path)
    if found is None or int(found["version"].partition(".")[0]) not in _VERSIONS:
        raise not_found()
    method = request.query.get("_HttpMethod", request.method) if request.method == "POST" else request.method
    return Ask(method, found["path"] or "", found["version"], request.query, request.headers, body)


def _response(answer: Answer) -> web.Response:
    return web.Response(status=204) if answer.body is None else respond(answer.body, answer.status)


async def _versions(_: web.Request) -> web.Response:
    """The API versions, which need no log-in. Three releases a year: 68.0 is Winter '27."""
    return respond(
        [
            {
                "label": f"{_SEASONS[number % 3]} '{(number + 13) // 3}",
                "url": f"/services/data/v{number}.0",
                "version": f"{number}.0",
            }
            for number in _VERSIONS
        ]
    )
