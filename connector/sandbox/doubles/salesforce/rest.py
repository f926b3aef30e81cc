"""The REST API: queries, describe, limits, and writes (salesforce §D)."""

from collections.abc import Callable
from typing import Any

from aiohttp import web

from connector.sandbox.doubles.salesforce import soql
from connector.sandbox.doubles.salesforce.front import client, respond
from connector.sandbox.doubles.salesforce.org_rules import Caller
from connector.sandbox.doubles.salesforce.schema import KINDS, SObject
from connector.sandbox.doubles.salesforce.state import State
from connector.sandbox.doubles.salesforce.values import DIGITS, SCALE, Problem, composed
from connector.sandbox.doubles.salesforce.writes import Change, Writes, read_collection
from connector.values import exact

_DATA = "/services/data/v{version:[0-9]+[.]0}"


class Rest:
    """The routes under /services/ and their answers. `front` decides which calls are admitted."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._writes = Writes(state)
        self._pages: dict[str, list[dict[str, Any]]] = {}

    def add_to(self, app: web.Application) -> None:
        add, record = app.router.add_route, _DATA + "/sobjects/{object}"
        add("GET", _DATA + "/limits", self._limits)
        add("GET", _DATA + "/query", self._query)
        add("GET", _DATA + "/queryAll", self._query)
        add("GET", _DATA + "/query/{page}", self._next_page)
        add("GET", record + "/describe", self._describe)
        add("POST", record, self._create)
        add("GET", record + "/{id}", self._read)
        add("PATCH", record + "/{id}", self._update)
        add("DELETE", record + "/{id}", self._delete)
        add("PATCH", record + "/{external}/{key}", self._upsert)
        many = _DATA + "/composite/sobjects"
        add("POST", many, self._create_many)
        add("PATCH", many, self._update_many)
        add("DELETE", many, self._delete_many)
        add("PATCH", many + "/{object}/{external}", self._upsert_many)

    async def _limits(self, _: web.Request) -> web.Response:
        settings = self._state.settings
        used = {
            "DailyApiRequests": (settings.api_limit, self._state.api_usage),
            "DailyDeliveredPlatformEvents": (settings.delivery_limit, self._state.delivered),
        }
        return respond({name: {"Max": most, "Remaining": max(0, most - now)} for name, (most, now) in used.items()})

    async def _query(self, request: web.Request) -> web.Response:
        version = request.match_info["version"]
        if "q" not in request.query:
            raise Problem("MALFORMED_QUERY", "A query string has to be specified")
        deleted = request.path.endswith("/queryAll")
        found = soql.rows(self._state.store, request.query["q"], version, deleted=deleted)
        return self._page(found, 0, f"0r8{len(self._pages):012d}AAA", version)

    async def _next_page(self, request: web.Request) -> web.Response:
        locator, _, start = request.match_info["page"].rpartition("-")
        if locator not in self._pages or not start.isdecimal():
            raise Problem("INVALID_QUERY_LOCATOR", "invalid query locator")
        return self._page(self._pages[locator], int(start), locator, request.match_info["version"])

    def _page(self, found: list[dict[str, Any]], start: int, locator: str, version: str) -> web.Response:
        end = start + self._state.settings.page
        done = end >= len(found)
        body = {"totalSize": len(found), "done": done, "records": found[start:end]}
        if not done:
            self._pages[locator] = found
            body["nextRecordsUrl"] = f"/services/data/v{version}/query/{locator}-{end}"
        return respond(body)

    async def _describe(self, request: web.Request) -> web.Response:
        if not self._state.settings.describable:
            raise Problem("INSUFFICIENT_ACCESS", "insufficient access rights on cross-reference id", status=403)
        return respond(_described(self._state.store.entity(request.match_info["object"])))

    async def _read(self, request: web.Request) -> web.Response:
        name, version = request.match_info["object"], request.match_info["version"]
        entity, record = self._state.store.entity(name), self._state.store.get(name, request.match_info["id"])
        wanted = request.query["fields"].split(",") if "fields" in request.query else list(entity.rest)
        body: dict[str, Any] = {"attributes": soql.attributes(name, record["Id"], version)}
        for each in wanted:
            field = entity.lower.get(each.lower())
            if field is None:
                raise Problem("INVALID_FIELD", f"No such column '{each}' on entity '{name}'.")
            body[field.name] = composed(record, field)
        return respond(body)

    async def _create(self, request: web.Request) -> web.Response:
        name, fields = request.match_info["object"], await _fields(request)
        if name.endswith("__e"):
            event_id = self._state.store.publish(name, fields, self._state.user_id)
            return respond({"id": event_id, "success": True, "errors": []}, 201)
        return respond(self._one(request, Change("create", name, fields)), 201)

    async def _update(self, request: web.Request) -> web.Response:
        name, key = request.match_info["object"], request.match_info["id"]
        self._one(request, Change("update", name, await _fields(request), key))
        return web.Response(status=204)

    async def _delete(self, request: web.Request) -> web.Response:
        self._one(request, Change("delete", request.match_info["object"], {}, request.match_info["id"]))
        return web.Response(status=204)

    async def _upsert(self, request: web.Request) -> web.Response:
        name, external, key = (request.match_info[part] for part in ("object", "external", "key"))
        result = self._one(request, Change("upsert", name, await _fields(request), key, external))
        return respond(result, 201 if result["created"] else 200)

    async def _create_many(self, request: web.Request) -> web.Response:
        return await self._many(request, lambda fields, name: Change("create", name, fields))

    async def _update_many(self, request: web.Request) -> web.Response:
        def make(fields: dict[str, Any], name: str) -> Change:
            return Change("update", name, fields, _take(fields, "Id"))

        return await self._many(request, make)

    async def _upsert_many(self, request: web.Request) -> web.Response:
        target, external = request.match_info["object"], request.match_info["external"]
        field = self._state.store.entity(target).lower.get(external.lower())
        name = field.name if field else external

        def make(fields: dict[str, Any], kind: str) -> Change:
            if kind != target:
                raise Problem("INVALID_TYPE", f"The records are of type {kind}, the address names {target}")
            return Change("upsert", target, fields, _take(fields, name), name)

        return await self._many(request, make)

    async def _delete_many(self, request: web.Request) -> web.Response:
        prefixes = {entity.prefix: name for name, entity in self._state.store.objects.items()}
        given = [each for each in request.query.get("ids", "").split(",") if each]
        changes = [Change("delete", prefixes.get(each[:3], "Case"), {}, each) for each in given]
        return self._collection(request, changes, request.query.get("allOrNone") == "true")

    async def _many(self, request: web.Request, make: Callable[[dict[str, Any], str], Change]) -> web.Response:
        changes, all_or_none = read_collection(await _json(request), make)
        return self._collection(request, changes, all_or_none)

    def _collection(self, request: web.Request, changes: list[Change], all_or_none: bool) -> web.Response:
        return respond(self._writes.many(changes, all_or_none, _caller(request)))

    def _one(self, request: web.Request, change: Change) -> dict[str, Any]:
        return self._writes.one(change, _caller(request))


def _caller(request: web.Request) -> Caller:
    """What the headers of a call say about its writes."""
    duplicates = request.headers.get("Sforce-Duplicate-Rule-Header", "").lower()
    return Caller(
        client=client(request),
        version=request.match_info["version"],
        auto_assign=request.headers.get("Sforce-Auto-Assign", "TRUE").upper() != "FALSE",
        saves_duplicates="allowsave=true" in duplicates.replace(" ", ""),
    )


def _take(fields: dict[str, Any], key: str) -> str | None:
    """Removes the key of a record from its fields and returns it; None if it is not text."""
    found = next((fields.pop(name) for name in [*fields] if name.lower() == key.lower()), None)
    return found if isinstance(found, str) else None


async def _json(request: web.Request) -> Any:
    if request.content_type != "application/json":
        raise Problem("UNSUPPORTED_MEDIA_TYPE", f"Content type {request.content_type} not supported", status=415)
    try:
        return exact.loads(await request.read())
    except ValueError as error:
        raise Problem("JSON_PARSER_ERROR", str(error)) from None


async def _fields(request: web.Request) -> dict[str, Any]:
    body = await _json(request)
    if not isinstance(body, dict):
        raise Problem("JSON_PARSER_ERROR", "The request body is not an object")
    return {name: value for name, value in body.items() if name != "attributes"}


def _described(entity: SObject) -> dict[str, Any]:
    fields = [
        {
            "name": field.name,
            "type": KINDS[field.kind].rest,
            "length": field.length,
            "precision": DIGITS if KINDS[field.kind].avro == "double" else 0,
            "scale": SCALE if KINDS[field.kind].avro == "double" else 0,
            "createable": not field.readonly,
            "updateable": not field.readonly,
            "nillable": not field.required and field.kind != "bool",
            "externalId": field.unique,
            "unique": field.unique,
            "calculated": field.kind == "formula",
            "restrictedPicklist": field.restricted,
            "picklistValues": [
                {"value": value, "active": True} for value in field.argument.split("|") if field.kind == "choice"
            ],
            "referenceTo": [field.argument] if field.kind == "ref" else [],
            "relationshipName": field.relationship,
        }
        for field in entity.rest.values()
    ]
    return {"name": entity.name, "keyPrefix": entity.prefix, "custom": entity.name.endswith("__c"), "fields": fields}
