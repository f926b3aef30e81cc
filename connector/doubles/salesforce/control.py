"""The control API under `/_control/`: the double's Python interface as JSON, for the sandbox and for tests elsewhere.

POST /_control/ACTION with the arguments of the method of that name as an object; answers what it returns.
     create, update, delete, undelete, publish, gap, add_field, add_channel, configure, fail, lock, revoke_tokens,
     hang_streams, break_streams, lose_positions
GET  /_control/MEMORY, with the arguments in the query: calls, history?record=…, tokens, streams, settings,
     records?entity=…, record?entity=…&record_id=…
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web
from pydantic import BaseModel, ValidationError

from connector.doubles.salesforce.model import Channel, Fault
from connector.doubles.salesforce.values import Problem

if TYPE_CHECKING:
    from connector.doubles.salesforce.double import SalesforceDouble

_CHANGES = ["create", "update", "delete", "undelete", "publish", "gap", "add_field", "configure"]
_TROUBLE = ["lock", "revoke_tokens", "hang_streams", "break_streams", "lose_positions"]


def add_to(app: web.Application, double: "SalesforceDouble") -> None:
    actions: dict[str, Callable[..., Any]] = {name: getattr(double, name) for name in [*_CHANGES, *_TROUBLE]}
    actions["fail"] = lambda **fault: double.fail(Fault.model_validate(fault))
    actions["add_channel"] = lambda name, **channel: double.add_channel(name, Channel.model_validate(channel))
    memories: dict[str, Callable[..., Any]] = {
        "calls": lambda: double.calls,
        "history": double.history,
        "tokens": lambda: double.tokens,
        "streams": lambda: double.streams,
        "settings": lambda: double.settings,
        "records": double.records,
        "record": double.record,
    }

    async def act(request: web.Request) -> web.Response:
        arguments = orjson.loads(await request.read() or b"{}")
        return _answer(actions, request, arguments)

    async def recall(request: web.Request) -> web.Response:
        return _answer(memories, request, dict(request.query))

    app.router.add_post("/_control/{name}", act)
    app.router.add_get("/_control/{name}", recall)


def _answer(known: dict[str, Callable[..., Any]], request: web.Request, arguments: dict[str, Any]) -> web.Response:
    name = request.match_info["name"]
    if name not in known:
        raise web.HTTPNotFound(text=f"{name} is none of {', '.join(known)}")
    try:
        result = known[name](**arguments)
    except (Problem, ValidationError, TypeError, ValueError, KeyError) as error:
        raise web.HTTPUnprocessableEntity(text=f"{name}: {error}") from None
    return web.Response(body=orjson.dumps(result, default=_plain), content_type="application/json")


def _plain(model: object) -> Any:
    if isinstance(model, BaseModel):
        return model.model_dump(mode="json")
    raise TypeError
