"""The control API of a double: its Python interface as JSON under `/_control/`, for the sandbox and tests elsewhere.

POST /_control/ACTION calls the function of that name with a JSON object of arguments. GET /_control/MEMORY takes the
arguments from the query. Both answer what the function returns. If an argument is a model, its fields stand beside the
other arguments. GET /_control/ lists all functions. A wrong call gets a 4xx that says in plain text what is wrong.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any

import orjson
from aiohttp import web
from pydantic import BaseModel, ValidationError, validate_call

from connector.values import exact

PREFIX = "/_control/"

Functions = Mapping[str, Callable[..., Any]]


def add_to(app: web.Application, about: str, actions: Functions, memories: Functions) -> None:
    """Serves the functions. Their annotations say what they take; they raise ValueError for what they refuse.

    `about` is the text before the list; `$URL` in it becomes the address of the control API.
    """

    async def index(request: web.Request) -> web.Response:
        example = about.replace("$URL", f"{request.scheme}://{request.host}{PREFIX.rstrip('/')}")
        lines = [example, "", *_listed("POST", actions), "", *_listed("GET", memories), ""]
        return web.Response(text="\n".join(lines))

    async def act(request: web.Request) -> web.Response:
        return await _answer(request, actions, await _arguments(request))

    async def recall(request: web.Request) -> web.Response:
        return await _answer(request, memories, dict(request.query))

    app.router.add_get(PREFIX, index)
    app.router.add_post(PREFIX + "{name}", act)
    app.router.add_get(PREFIX + "{name}", recall)


def _listed(method: str, functions: Functions) -> Iterator[str]:
    for name, function in functions.items():
        yield f"{method} {PREFIX}{name}  {', '.join(_spread(function))}".rstrip()
        if function.__doc__:
            yield "    " + function.__doc__.strip().partition("\n")[0]


def _spread(function: Callable[..., Any]) -> Iterator[str]:
    """`name`, or `name=default`, of each argument."""
    for parameter in inspect.signature(function).parameters.values():
        model = _model(parameter)
        if model:
            yield from _spread(model)
        elif parameter.default is parameter.empty:
            yield str(parameter.replace(annotation=parameter.empty))
        else:
            yield f"{parameter.name}={orjson.dumps(parameter.default).decode()}"


def _model(parameter: inspect.Parameter) -> type[BaseModel] | None:
    kind = parameter.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


async def _arguments(request: web.Request) -> dict[str, Any]:
    try:
        given = orjson.loads(await request.read() or b"{}")
    except orjson.JSONDecodeError as error:
        raise web.HTTPBadRequest(text=f"the body is not JSON: {error}\n") from None
    if not isinstance(given, dict):
        raise web.HTTPUnprocessableEntity(text="the body is not an object of arguments\n")
    return given


async def _answer(request: web.Request, known: Functions, arguments: dict[str, Any]) -> web.Response:
    name = request.match_info["name"]
    if name not in known:
        raise web.HTTPNotFound(text=f"there is no {request.method} {PREFIX}{name}; GET {PREFIX} lists all functions\n")
    try:
        result = _call(known[name], arguments)
        if inspect.isawaitable(result):
            result = await result
    except ValidationError as error:
        raise web.HTTPUnprocessableEntity(text=f"{name}: {_explained(error)}\n") from None
    except ValueError as error:
        raise web.HTTPUnprocessableEntity(text=f"{name}: {error}\n") from None
    return web.Response(body=orjson.dumps(result, default=_plain), content_type="application/json")


def _call(function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    parameters = inspect.signature(function).parameters
    model = next((name for name, parameter in parameters.items() if _model(parameter)), None)
    if model is not None:
        own = {name: value for name, value in arguments.items() if name in parameters}
        arguments = {**own, model: {name: value for name, value in arguments.items() if name not in own}}
    return validate_call(function)(**arguments)


def _explained(error: ValidationError) -> str:
    """Each mistake with the name of its argument, but without the given value, which may be long."""
    return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors(include_url=False))


def _plain(model: object) -> Any:
    if isinstance(model, BaseModel):
        return model.model_dump(mode="json")
    if isinstance(model, Decimal):
        return orjson.Fragment(exact.digits(model))
    raise TypeError
