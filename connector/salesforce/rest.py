"""The REST calls that we make: SOQL by id, and writes through the collections resource (contract: salesforce §D2)."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
from aiolimiter import AsyncLimiter

from connector.errors import Fatal, Rejected, Retryable
from connector.salesforce import errors, soql
from connector.salesforce._numbers import whole
from connector.salesforce.api_usage import ApiUsage, api_usage
from connector.salesforce.auth import TokenSource
from connector.salesforce.record_write import CallOptions
from connector.values import exact

_MOST_RECORDS = 200  # of one collections call (salesforce §D2)
_MOST_ORDERED = 2000  # rows of a query that wants the first of several for many values: one page (salesforce §D3)
_DEFAULTS = CallOptions()

Row = dict[str, Any]


@dataclass(frozen=True)
class Result:
    """The result of one record in a collections call. `error` is None exactly when the record succeeded."""

    success: bool
    id: str | None = None
    created: bool | None = None
    error: Retryable | Rejected | Fatal | None = None


class RestClient:
    """Makes paced calls with a current token, and renews a refused token once. The caller makes all other retries.

    `timeout` is in seconds for a whole call. `api_usage` is what the last answer said. Every method raises:
        Retryable: No answer, a busy or exhausted org; repeating is safe, because the writes are keyed.
        Rejected: Salesforce refused the call for its content (HTTP 400 or 413), or the content cannot be JSON.
        Fatal: Permissions, names or addresses are wrong.
    """

    def __init__(
        self,
        tokens: TokenSource,
        http: httpx.AsyncClient,
        *,
        client_name: str,
        api_version: str = "66.0",
        calls_per_second: float = 10.0,
        timeout: float = 30.0,
    ) -> None:
        self._tokens = tokens
        self._http = http
        self._base = f"/services/data/v{api_version}"
        self._headers = {"Sforce-Call-Options": f"client={client_name}"}
        burst = max(1.0, calls_per_second)
        self._pace = AsyncLimiter(burst, burst / calls_per_second)
        self._timeout = timeout
        self.api_usage: ApiUsage | None = None

    async def find(self, source: soql.Source, fields: Iterable[str], values: Iterable[soql.Value]) -> list[Row]:
        """`fields`, Id and `source.by` of the records that exist and that we may see, in as many queries as needed.

        A field may lead to another record: `Account.Name` is in the row's `Account`, which is None if there is none.
        With `source.order_by`, the first record for each value comes before its others.
        """
        values = list(values)
        if not source.order_by:
            return await self._find(soql.select(source, fields, values))
        most = 1 if len(values) == 1 else _MOST_ORDERED
        rows = await self._find(soql.select(source, fields, values, limit=most))
        if len(values) == 1 or len(rows) < most:
            return rows
        middle = len(values) // 2  # there may be more rows, and the first of some value among them
        return [*await self.find(source, fields, values[:middle]), *await self.find(source, fields, values[middle:])]

    async def find_deleted(self, source: soql.Source, fields: Iterable[str], ids: Iterable[soql.Value]) -> list[Row]:
        """As `find`, for the records that are in the recycle bin."""
        rows = await self._find(soql.select(source, [*fields, "IsDeleted"], ids), deleted=True)
        return [row for row in rows if row["IsDeleted"]]

    async def _find(self, queries: Iterable[str], *, deleted: bool = False) -> list[Row]:
        return [row for query in queries for row in await self.query(query, deleted=deleted)]

    async def query(self, query: str, *, deleted: bool = False) -> list[Row]:
        """All rows of a SOQL query, from all its pages. The caller escapes values in it with `soql.literal`.

        `deleted`: with records in the recycle bin, such as those that were merged into others.
        """
        path = f"{self._base}/{'queryAll' if deleted else 'query'}"
        page = await self._call("GET", path, "query", params={"q": query})
        rows = _rows(page)
        while page.get("nextRecordsUrl"):
            page = await self._call("GET", page["nextRecordsUrl"], "query")
            rows += _rows(page)
        return [_plain(row) for row in rows]

    async def upsert(
        self,
        object_name: str,
        external_field: str,
        records: Sequence[Mapping[str, object]],
        options: CallOptions = _DEFAULTS,
    ) -> list[Result]:
        """Creates or updates up to 200 records, each with its value of `external_field`. Results are in the same order.

        Raises:
            ValueError: More than 200 records, or one external id twice: Salesforce would refuse both.
        """
        _require_distinct(records, external_field)
        path = f"{self._base}/composite/sobjects/{soql.name(object_name)}/{soql.name(external_field)}"
        return await self._write(path, f"upsert {object_name}", object_name, records, options)

    async def update(
        self, object_name: str, records: Sequence[Mapping[str, object]], options: CallOptions = _DEFAULTS
    ) -> list[Result]:
        """Updates up to 200 records, each with its `Id`. Results are in the same order.

        Raises:
            ValueError: More than 200 records, or one Id twice.
        """
        _require_distinct(records, "Id")
        lowered = [{"id" if key == "Id" else key: value for key, value in record.items()} for record in records]
        return await self._write(
            f"{self._base}/composite/sobjects", f"update {object_name}", soql.name(object_name), lowered, options
        )

    async def limits(self) -> dict[str, Any]:
        """The org's allowances by name, each with `Max` and `Remaining`."""
        return dict(await self._call("GET", f"{self._base}/limits", "limits"))

    async def describe(self, object_name: str) -> dict[str, Any]:
        """What Salesforce says about an object and its fields."""
        path = f"{self._base}/sobjects/{soql.name(object_name)}/describe"
        described = await self._call("GET", path, f"describe {object_name}")
        return described if isinstance(described, dict) else {}

    async def _write(
        self,
        path: str,
        what: str,
        object_name: str,
        records: Sequence[Mapping[str, object]],
        options: CallOptions,
    ) -> list[Result]:
        if not records:
            return []
        body = {
            "allOrNone": False,
            "records": [{"attributes": {"type": object_name}, **record} for record in records],
        }
        try:
            content = exact.dumps(body)
        except ValueError as error:
            raise Rejected(f"{what}: a value cannot be written as JSON: {error}", code="no_json") from error
        answers = await self._call("PATCH", path, what, content=content, headers=options.headers)
        if not isinstance(answers, list) or not all(isinstance(one, dict) and "success" in one for one in answers):
            raise Retryable(f"{what}: the answer holds no results; it may come from a proxy")
        if len(answers) != len(records):
            raise Fatal(f"{what}: {len(answers)} results for {len(records)} records, so we cannot match them")
        return [_result(answer, what) for answer in answers]

    async def _call(self, method: str, path: str, what: str, **request: Any) -> Any:
        """The JSON of a 2xx answer. `request` holds httpx's `params`, `content` or `headers`."""
        response = await self._send(method, path, what, request)
        if response.status_code == httpx.codes.UNAUTHORIZED:
            response = await self._send(method, path, what, request)
        if not response.is_success:
            raise errors.from_response(response, what)
        try:
            return exact.loads(response.content)
        except ValueError:
            raise Retryable(f"{what}: HTTP {response.status_code} without JSON; it may come from a proxy") from None

    async def _send(self, method: str, path: str, what: str, request: Mapping[str, Any]) -> httpx.Response:
        token = await self._tokens.token()
        headers = {**self._headers, **request.get("headers", {}), "Authorization": f"Bearer {token.access_token}"}
        if "content" in request:
            headers["Content-Type"] = "application/json"
        await self._pace.acquire()
        try:
            async with asyncio.timeout(self._timeout):
                response = await self._http.request(
                    method, token.instance_url + path, timeout=self._timeout, **{**request, "headers": headers}
                )
        except (httpx.HTTPError, TimeoutError) as error:
            raise errors.from_exception(error, what) from error
        if response.status_code == httpx.codes.UNAUTHORIZED:
            self._tokens.invalidate(token)
        self.api_usage = api_usage(response.headers.get("Sforce-Limit-Info", "")) or self.api_usage
        return response


def _require_distinct(records: Sequence[Mapping[str, object]], key: str) -> None:
    if len(records) > _MOST_RECORDS:
        raise ValueError(f"{len(records)} records in one call; {_MOST_RECORDS} is the most")
    if len({record[key] for record in records}) != len(records):
        raise ValueError(f"a value of {key} occurs twice in one call")


def _plain(value: Any) -> Any:
    """A row, or a record in it, without `attributes`."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items() if key != "attributes"}
    return whole(value)


def _rows(page: Any) -> list[dict[str, Any]]:
    if not isinstance(page, dict) or not isinstance(page.get("records"), list):
        raise Retryable("query: the answer holds no records; it may come from a proxy")
    return list(page["records"])


def _result(answer: Mapping[str, Any], what: str) -> Result:
    if answer["success"]:
        return Result(True, answer.get("id"), answer.get("created"))
    return Result(False, answer.get("id"), error=errors.from_record(answer.get("errors") or [], what))
