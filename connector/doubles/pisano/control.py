"""The control API under `/_control/`: the double's Python interface as JSON, for the sandbox and for tests elsewhere.

PUT    /_control/{flows,campaigns,customers}/{name}     one model of that kind
PUT    /_control/webhook                                Webhook
PATCH  /_control/settings                               any of Settings
POST   /_control/faults                                 Fault
POST   /_control/webhooks                               {"body": …, "times": …}: send this body, valid or not
POST   /_control/reset
GET    /_control/{calls,violations,emails,second_emails,webhooks,settings}      emails: ?address=…
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import orjson
from aiohttp import web
from pydantic import BaseModel, ValidationError

from connector.doubles.pisano.model import Campaign, Customer, Fault, Flow, Model, Webhook

if TYPE_CHECKING:
    from connector.doubles.pisano.double import PisanoDouble


_M = TypeVar("_M", bound=Model)
Handler = Callable[[web.Request], Awaitable[web.Response]]


class _Body(Model):
    body: str
    times: int = 1
    after: float = 0.0


def add_to(app: web.Application, double: "PisanoDouble") -> None:
    router = app.router
    for kind, model in {"flows": Flow, "campaigns": Campaign, "customers": Customer}.items():
        router.add_put(f"/_control/{kind}/{{name}}", _put(getattr(double, kind), model))
    router.add_put("/_control/webhook", _accept(Webhook, lambda webhook: setattr(double, "webhook", webhook)))
    router.add_post("/_control/faults", _accept(Fault, double.fail))
    router.add_post("/_control/webhooks", _accept(_Body, lambda given: _send(double, given)))
    readers: dict[str, Callable[[web.Request], Any]] = {
        "calls": lambda _: double.calls,
        "violations": lambda _: double.violations(),
        "emails": lambda request: double.emails(request.query.get("address")),
        "second_emails": lambda _: double.second_emails(),
        "webhooks": lambda _: double.webhooks.deliveries,
        "settings": lambda _: double.settings,
    }
    for name, read in readers.items():
        router.add_get(f"/_control/{name}", _read(read))

    async def configure(request: web.Request) -> web.Response:
        try:
            double.configure(**orjson.loads(await request.read()))
        except (ValidationError, orjson.JSONDecodeError, TypeError) as error:
            raise web.HTTPUnprocessableEntity(text=str(error)) from None
        return web.Response(status=204)

    async def reset(_: web.Request) -> web.Response:
        await double.reset()
        return web.Response(status=204)

    router.add_patch("/_control/settings", configure)
    router.add_post("/_control/reset", reset)


def _put(where: dict[str, _M], model: type[_M]) -> Handler:
    async def put(request: web.Request) -> web.Response:
        name = request.match_info["name"]
        where[name.lower() if model is Customer else name] = await _parse(request, model)
        return web.Response(status=204)

    return put


def _accept(model: type[_M], take: Callable[[_M], None]) -> Handler:
    async def accept(request: web.Request) -> web.Response:
        take(await _parse(request, model))
        return web.Response(status=204)

    return accept


def _read(read: Callable[[web.Request], Any]) -> Handler:
    async def answer(request: web.Request) -> web.Response:
        body = orjson.dumps(read(request), default=_plain)
        return web.Response(body=body, content_type="application/json")

    return answer


def _plain(model: object) -> Any:
    if isinstance(model, BaseModel):
        return model.model_dump(mode="json")
    raise TypeError


def _send(double: "PisanoDouble", given: _Body) -> None:
    if double.webhook is None:
        raise web.HTTPConflict(text="PUT /_control/webhook first")
    double.webhooks.send(double.webhook, given.body, times=given.times, after=given.after)


async def _parse(request: web.Request, model: type[_M]) -> _M:
    try:
        return model.model_validate_json(await request.read())
    except ValidationError as error:
        raise web.HTTPUnprocessableEntity(text=str(error)) from None
