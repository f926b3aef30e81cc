"""Queries, page by page (salesforce §D2)."""

from collections.abc import Callable
from typing import Any

from connector.sandbox.doubles.salesforce import soql
from connector.sandbox.doubles.salesforce.rest_calls import Answer, Ask, Table
from connector.sandbox.doubles.salesforce.store import Store
from connector.sandbox.doubles.salesforce.values import Problem

_SMALLEST_BATCH, _LARGEST_BATCH = 200, 2000  # rows that a client may ask for in a page (the REST API guide)


class Queries:
    """`page` gives the most rows of a page; a client may ask for fewer in Sforce-Query-Options."""

    def __init__(self, store: Store, page: Callable[[], int]) -> None:
        self._store, self._page = store, page
        self._open: dict[str, list[dict[str, Any]]] = {}

    def add_to(self, table: Table) -> None:
        for name in ("query", "queryAll"):
            table.add("GET", f"/{name}", self._first)
            table.add("GET", f"/{name}/{{page}}", self._next)

    def _first(self, ask: Ask) -> Answer:
        if "q" not in ask.query:
            raise Problem("MALFORMED_QUERY", "A query string has to be specified")
        found = soql.run(self._store, ask.query["q"], ask.version, deleted=ask.path == "/queryAll")
        if found.counted is not None:
            return Answer({"totalSize": found.counted, "done": True, "records": []})
        return self._answer(ask, found.rows, 0, f"0r8{len(self._open):012d}AAA")

    def _next(self, ask: Ask) -> Answer:
        locator, _, start = ask.parts["page"].rpartition("-")
        if locator not in self._open or not start.isdecimal():
            raise Problem("INVALID_QUERY_LOCATOR", "invalid query locator")
        return self._answer(ask, self._open[locator], int(start), locator)

    def _answer(self, ask: Ask, found: list[dict[str, Any]], start: int, locator: str) -> Answer:
        end = start + min(self._page(), _wanted(ask.headers.get("Sforce-Query-Options", "")))
        done = end >= len(found)
        body = {"totalSize": len(found), "done": done, "records": found[start:end]}
        if not done:
            self._open[locator] = found
            body["nextRecordsUrl"] = f"{ask.base}/query/{locator}-{end}"
        return Answer(body)


def _wanted(options: str) -> int:
    name, _, size = options.partition("=")
    if name.strip().lower() != "batchsize" or not size.strip().isdecimal():
        return _LARGEST_BATCH
    return max(_SMALLEST_BATCH, min(_LARGEST_BATCH, int(size)))
