"""Reads a campaign's flow and compares the question keys and values of a mapping with it (pisano §5).

Pisano documents that the answer lists questions with their keys and the keys of their options. Where it names a
question's type is not documented, so a question without a type that we know takes every value.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal
from urllib.parse import quote

import httpx
import orjson

from connector.config.scope import one_of
from connector.errors import Rejected
from connector.pisano._http import get_json
from connector.pisano.auth import token_of
from connector.pisano.errors import from_answer, from_transport
from connector.records import Scalar

Kind = Literal[
    "true or false", "a whole number", "a number", "a text", "a date", "a date and time", "no date", "Salesforce's time"
]
"""What a value is. `a text` is not known yet, so it may be a date; `no date` is a text that is known."""

_TEXTS: frozenset[Kind] = frozenset({"a text", "a date", "a date and time", "no date", "Salesforce's time"})
_TAKES: Mapping[str, frozenset[Kind]] = {  # by the flow's types: pisano §3 (S8)
    "boolean": frozenset({"true or false"}),
    "integer": frozenset({"a whole number"}),
    "float": frozenset({"a whole number", "a number"}),
    "date": frozenset({"a date", "a text"}),
    "datetime": frozenset({"a date and time", "a text"}),
    "string": _TEXTS,
    "list": _TEXTS,
}
_FORMATS: tuple[tuple[Kind, str], ...] = (("a date", "%Y-%m-%d"), ("a date and time", "%Y-%m-%d %H:%M:%S"))


@dataclass(frozen=True)
class Question:
    """A question of a flow, or a hidden field. `type` is a key of `_TAKES`, or None when it is not known."""

    type: str | None = None
    options: tuple[str, ...] = ()


Flow = Mapping[str, Question]  # by question key


async def read_flow(
    http: httpx.AsyncClient,
    base_url: str,
    flow: str,
    authorization: str,
    *,
    connect_timeout: float = 10.0,
    timeout: float = 10.0,
    clock: Callable[[], float] = time.time,
) -> Flow:
    """The questions of the flow with this id. One call; it sends nothing, so it may be repeated.

    Raises:
        Retryable, Rejected, Fatal: The flow cannot be read. The message says why.
    """
    call = f"reading flow {flow}"
    url = f"{base_url.rstrip('/')}/external/v1/flows/{quote(flow, safe='')}"
    try:
        answer = await get_json(
            http, url, authorization=authorization, connect_timeout=connect_timeout, timeout=timeout
        )
    except (httpx.HTTPError, TimeoutError) as error:
        raise from_transport(error, call, repeatable=True) from error
    if not 200 <= answer.status < 300:
        raise from_answer(answer, call, repeatable=True, hide=(token_of(authorization),), clock=clock)
    try:
        return _questions(orjson.loads(answer.body))
    except ValueError as error:
        raise Rejected(f"{call}: Pisano's answer lists no questions.", code="no_questions") from error


def kind(value: Scalar) -> Kind:
    """What a known value is."""
    match value:
        case bool():
            return "true or false"
        case int():
            return "a whole number"
        case float() | Decimal():
            return "a number"
    for name, form in _FORMATS:
        try:
            datetime.strptime(value, form)  # noqa: DTZ007 - only its form counts
        except ValueError:
            continue
        return name
    return "no date"


def mistakes(flow: Flow, keys: Mapping[str, Scalar | None], kinds: Mapping[str, Kind]) -> Iterator[tuple[str, str]]:
    """Each question key that does not fit the flow, and why in words.

    `keys` holds each key of a mapping, with its value if that is known. `kinds` says what the value of a key is,
    where that is known.
    """
    for key, value in keys.items():
        if key not in flow:
            yield key, f"the flow has no question {key}; {one_of(key, flow)}"
            continue
        question = flow[key]
        if question.type and key in kinds and kinds[key] not in _TAKES[question.type]:
            yield key, f"the flow's question is of type {question.type}, and the value is {kinds[key]}"
        elif question.options and value is not None and str(value) not in question.options:
            yield key, f"{value} is not an option of the flow's question; {one_of(str(value), question.options)}"


def _questions(body: Any) -> Flow:
    """Raises ValueError when there are none: the answer is of another form, or the page of a proxy."""
    for name in ("data", "flow"):  # some of Pisano's answers have their content in there (pisano §2.1)
        body = body[name] if isinstance(body, dict) and isinstance(body.get(name), (dict, list)) else body
    found = body.get("questions") if isinstance(body, dict) else body
    if not isinstance(found, list):
        raise ValueError("no list of questions")  # noqa: TRY004 - one error for all that can be wrong
    return {key: _question(each) for each in found if (key := _key(each, "key", "question_key"))}


def _question(body: Mapping[str, Any]) -> Question:
    named = _key(body, "type", "question_type", "data_type").lower().replace(" ", "").replace("_", "")
    options = body.get("options")
    keys = (_key(each, "key", "option_key") for each in options) if isinstance(options, list) else ()
    return Question(named if named in _TAKES else None, tuple(filter(None, keys)))


def _key(body: Any, *names: str) -> str:
    """The first text or number under one of these names; empty when there is none."""
    if not isinstance(body, dict):
        return ""
    return next((str(body[name]) for name in names if isinstance(body.get(name), (str, int))), "")
