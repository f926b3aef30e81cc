"""What Pisano's 2xx to an e-mail sharing means. Pisano does not document it, so the settings of an account decide.

A condition is decided over `answer`: its `status`, its `headers` by name in lower case, and its `body`, which is the
JSON that it holds, or else its text.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from connector.errors import Rejected, Unknown
from connector.pisano._http import Answer
from connector.records import digest
from connector.templates import Condition

_NAME = re.compile(r"[A-Za-z_][A-Za-z_-]{0,40}")  # a key with a digit or an @ may be an id or an address
_DEPTH = 3  # levels of a body that its shape shows
_MOST_KEYS = 20  # of an object in a shape


@dataclass(frozen=True)
class Results:
    """Where an answer says what became of each address: a list, or a mapping by address, at `path` in the body.

    `address` is the key of the address in an entry of the list. `refused_when` is decided over `result`, the entry;
    without it, each address that is listed was refused.
    """

    path: str
    address: str = "email"
    refused_when: Condition | None = None


@dataclass(frozen=True)
class AnswerRules:
    """Without rules, every 2xx means that all e-mails were sent. `results` come first, where an answer has some."""

    sent_when: Condition | None = None
    refused_when: Condition | None = None
    results: Results | None = None

    def refused(self, answer: Answer) -> frozenset[str] | None:
        """The addresses, in lower case, that the answer's results refuse. None when the answer has no results.

        Raises:
            Unknown: A condition cannot be decided over this answer.
        """
        rule = self.results
        if rule is None:
            return None
        scope = _scope(answer)
        found = dict(_results(_at(scope["answer"]["body"], rule.path), rule.address))
        when = rule.refused_when
        refused = [address for address, result in found.items() if when is None or _holds(when, {"result": result})]
        return frozenset(refused) if found else None

    def judge(self, answer: Answer) -> None:
        """Decides on the whole call.

        Raises:
            Rejected: `refused_when` holds: no e-mail was sent.
            Unknown: `sent_when` does not hold, or a condition cannot be decided: e-mails may have been sent.
        """
        scope = _scope(answer)
        if self.refused_when is not None and _holds(self.refused_when, scope):
            raise Rejected("the condition refused_when holds", code="refused_by_answer")
        if self.sent_when is not None and not _holds(self.sent_when, scope):
            raise Unknown("the condition sent_when does not hold, so the e-mail may have been sent")


def shape(body: bytes) -> tuple[str, str]:
    """A short name for the form of a body, and the form itself. Neither holds a value.

    Two bodies with the same keys and types have the same name: `json-1f3a09bc`. Others are `empty`, `page` and `text`.
    """
    try:
        form = _form(orjson.loads(body), _DEPTH)
    except orjson.JSONDecodeError:
        text = body.strip()
        name = "page" if text[:1] == b"<" else "text" if text else "empty"
        return name, name
    return f"json-{digest(form)[:8]}", form


def _form(value: object, depth: int) -> str:
    if isinstance(value, (dict, list)) and depth == 0:
        return "…"
    if isinstance(value, dict):
        forms = {(name if _NAME.fullmatch(name) else "*", _form(inner, depth - 1)) for name, inner in value.items()}
        return "{" + ", ".join(f"{name}: {form}" for name, form in sorted(forms)[:_MOST_KEYS]) + "}"
    if isinstance(value, list):
        return "[" + " | ".join(sorted({_form(inner, depth - 1) for inner in value})) + "]"
    kinds = {bool: "true or false", int: "number", float: "number", str: "text"}
    return kinds.get(type(value), "null")


def _scope(answer: Answer) -> dict[str, Any]:
    try:
        body = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        body = answer.body.decode(errors="replace")
    headers = {name.lower(): value for name, value in answer.headers.items()}
    return {"answer": {"status": answer.status, "headers": headers, "body": body}}


def _holds(condition: Condition, scope: Mapping[str, Any]) -> bool:
    try:
        return condition.holds(scope)
    except Rejected as error:  # it compares a text with a number: that is no word about the invitation
        raise Unknown(f"{error}, so whether the e-mail was sent is not known") from error


def _at(body: object, path: str) -> object:
    for name in path.split("."):
        body = body.get(name) if isinstance(body, dict) else None
    return body


def _results(found: object, address: str) -> Iterator[tuple[str, object]]:
    """Each address, in lower case, with its result."""
    if isinstance(found, dict):
        yield from ((name.lower(), result) for name, result in found.items())
    for entry in found if isinstance(found, list) else ():
        name = entry.get(address) if isinstance(entry, dict) else entry
        if isinstance(name, str):
            yield name.lower(), entry
