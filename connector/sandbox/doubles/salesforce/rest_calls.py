"""One call of the REST API, from the wire or from inside a composite call, and the table that finds its handler."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from connector.sandbox.doubles.salesforce.org_rules import Caller
from connector.sandbox.doubles.salesforce.values import Problem
from connector.values import exact


@dataclass(frozen=True)
class Ask:
    """A call. `path` comes after /services/data/vXX.0 and has no last slash; `parts` are its named segments."""

    method: str
    path: str
    version: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)  # their case does not matter
    body: bytes = b""
    parts: Mapping[str, str] = field(default_factory=dict)

    @property
    def base(self) -> str:
        return f"/services/data/v{self.version}"

    @property
    def caller(self) -> Caller:
        duplicates = self.headers.get("Sforce-Duplicate-Rule-Header", "").lower()
        return Caller(
            client=client(self.headers),
            version=self.version,
            auto_assign=self.headers.get("Sforce-Auto-Assign", "TRUE").upper() != "FALSE",
            saves_duplicates="allowsave=true" in duplicates.replace(" ", ""),
        )

    def json(self) -> Any:
        """The body.

        Raises:
            Problem: It is not JSON, or does not say that it is.
        """
        kind = self.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise Problem("UNSUPPORTED_MEDIA_TYPE", f"Content type {kind} not supported", status=415)
        try:
            return exact.loads(self.body)
        except ValueError as error:
            raise Problem("JSON_PARSER_ERROR", str(error)) from None

    def fields(self) -> dict[str, Any]:
        """The body as the fields of one record."""
        body = self.json()
        if not isinstance(body, dict):
            raise Problem("JSON_PARSER_ERROR", "The request body is not an object")
        return {name: value for name, value in body.items() if name != "attributes"}


@dataclass(frozen=True)
class Answer:
    body: Any = None  # None: no content
    status: int = 200


Handler = Callable[[Ask], Answer]


class Table:
    """Handlers by method and path, such as `/sobjects/{object}/{id}`. The first that fits answers."""

    def __init__(self) -> None:
        self._rows: list[tuple[str, re.Pattern[str], Handler]] = []

    def add(self, method: str, path: str, handler: Handler) -> None:
        self._rows.append((method, re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path)), handler))

    def find(self, ask: Ask) -> tuple[Handler, Ask]:
        """The handler, and the call with its `parts`.

        Raises:
            Problem: NOT_FOUND or METHOD_NOT_ALLOWED.
        """
        fits = [(method, handler, fit) for method, path, handler in self._rows if (fit := path.fullmatch(ask.path))]
        for method, handler, fit in fits:
            if method == ask.method:
                parts = {name: unquote(value) for name, value in fit.groupdict().items()}
                return handler, replace(ask, parts=parts)
        if not fits:
            raise not_found()
        allowed = ",".join(sorted({method for method, _, _ in fits}))
        raise Problem(
            "METHOD_NOT_ALLOWED", f"HTTP Method '{ask.method}' not allowed. Allowed are {allowed}", status=405
        )


def not_found() -> Problem:
    return Problem("NOT_FOUND", "The requested resource does not exist", status=404)


def client(headers: Mapping[str, str]) -> str:
    """The client name in the call's Sforce-Call-Options."""
    found = re.search(r"(?:^|[,;]\s*)client=([^,;\s]+)", headers.get("Sforce-Call-Options", ""))
    return found[1] if found else ""


def problems(problem: Problem) -> list[dict[str, Any]]:
    """The body of a refused call (salesforce §D4)."""
    return [{"message": problem.message, "errorCode": problem.code, "fields": problem.fields}]


def respond(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    text = body.encode() if isinstance(body, str) else exact.dumps(body)
    response = web.Response(status=status, body=text, content_type="application/json")
    response.headers.update(headers or {})
    return response
