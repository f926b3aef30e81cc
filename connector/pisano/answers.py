"""What Pisano's 2xx to a sharing means. Pisano does not document it, so the settings of an account decide.

A condition is decided over `answer`: its `status`, its `headers`, and its `body`, which is the JSON that it holds, or
else its text.
"""

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import orjson
from email_validator import EmailNotValidError, validate_email

from connector.errors import Rejected
from connector.pisano._http import Answer
from connector.pisano.errors import Unclear
from connector.records import digest
from connector.templates import Condition

_NAME = re.compile(r"(?=.{1,40}$)[a-z]+(_[a-z]+)*")  # any other key may be the name of a person, an id or an address
_PHONE = re.compile(r"\s*\+?[\d ().-]{5,}")
_SHORTEST_OWN = 4  # characters: without shorter texts of a call, half of a refusal's letters would be missing
_DEPTH = 3  # levels of a body that its shape shows
_TEXTS_IN_TEXTS = 3  # JSON in a JSON text in a JSON text in a JSON text; nobody encodes more often
_MOST_KEYS = 20  # of an object in a shape


@dataclass(frozen=True)
class Results:
    """Where an answer says what became of each address: a list, or a mapping by address, at `path` in the body.

    `path` and `address` are keys with points between them. A number is a place in a list, from 0, and an empty path or
    `.` is the whole body. `address` leads to the address in an entry of the list. `refused_when` is decided over
    `result`, the entry; without it, each address that is listed was refused.
    """

    path: str
    address: str = "email"
    refused_when: Condition | None = None

    def entries(self, body: object) -> list[tuple[str, object]]:
        """Each address in the form of `_compared`, with its result. An entry without an address has an empty one."""
        found = _at(body, self.path)
        if isinstance(found, dict):
            return [(_compared(name), result) for name, result in found.items()]
        each = found if isinstance(found, list) else [found] if found else []
        return [(_compared(_at(one, self.address) if isinstance(one, dict) else one), one) for one in each]

    def refuses(self, result: object) -> bool:
        """Whether the entry `result` is about a refused address. Raises Unclear if that cannot be decided."""
        return self.refused_when is None or _holds(self.refused_when, {"result": result})


@dataclass(frozen=True)
class AnswerRules:
    """Without rules, every 2xx means that all e-mails were sent. `results` come first, if they list the addresses.

    `campaign_off_when` is decided over a 4xx, the others over a 2xx. `link_at` is a path as in `Results`.
    """

    sent_when: Condition | None = None
    refused_when: Condition | None = None
    results: Results | None = None
    campaign_off_when: Condition | None = None
    link_at: str | None = None

    def says_campaign_is_off(self, answer: Answer, own: Iterable[str]) -> bool:
        """Whether a 4xx is about the campaign, which cannot send, and not about the call with these texts in it."""
        text = _text(answer.body, answer.headers.get("Content-Type", "")).lower()
        for each in sorted((each.lower() for each in own if len(each) >= _SHORTEST_OWN), key=len, reverse=True):
            text = text.replace(each, "")
        scope = {"answer": {"status": answer.status, "text": text}}
        return self.campaign_off_when is not None and _holds(self.campaign_off_when, scope)

    def link(self, answer: Answer) -> str | None:
        """The link in the answer: the text at `link_at`, or the only web address in it. None if there is none."""
        body = _scope(answer)["answer"]["body"]
        found = {each for each in _scalars(body if self.link_at is None else _at(body, self.link_at)) if _is_link(each)}
        return found.pop() if len(found) == 1 else None

    def refused(self, answer: Answer, emails: Collection[str]) -> frozenset[str]:
        """Those of the call's `emails` that were refused. The others were sent.

        Raises:
            Rejected: `refused_when` holds: no e-mail was sent.
            Unclear: E-mails may have been sent. `sent_when` does not hold, a condition cannot be decided, the answer
                is cut off or is JSON with a mistake, or its results do not say which address they are about.
        """
        if not (self.sent_when or self.refused_when or self.results):
            return frozenset()
        scope = _scope(answer)
        entries = self.results.entries(scope["answer"]["body"]) if self.results else []
        ours = {_compared(email): email for email in emails}
        mine = [(ours[address], result) for address, result in entries if address in ours]
        has_others = len(mine) < len(entries)
        if self.results is None or not mine:
            self._judge(scope, has_others)
            return frozenset()
        if has_others and len({email for email, _ in mine}) < len(emails):
            raise Unclear("its results list an address that is not in the call, and leave out one that is")
        return frozenset(email for email, result in mine if self.results.refuses(result))

    def _judge(self, scope: Mapping[str, Any], has_others: bool) -> None:
        """Decides on the whole call. `has_others`: the results list something, but no address of the call."""
        if self.refused_when is not None and _holds(self.refused_when, scope):
            raise Rejected("the condition refused_when holds", code="refused_by_answer")
        if self.sent_when is not None and not _holds(self.sent_when, scope):
            raise Unclear("the condition sent_when does not hold, so the survey may have been sent")
        if self.sent_when is None and has_others:
            raise Unclear("its results list no address of the call, so whether the survey was sent is not known")


def shape(body: bytes) -> tuple[str, str]:
    """A short name for the form of a body, and the form itself. Neither holds a value.

    Two bodies with the same keys and types have the same name: `json-1f3a09bc`. Others are `empty`, `page` and `text`.
    """
    text = _text(body)
    try:
        form = _form(orjson.loads(text), _DEPTH)
    except orjson.JSONDecodeError:
        start = text.strip()[:1]
        name = "page" if start == "<" else "text" if start else "empty"
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
    if not answer.complete:
        raise Unclear("the answer was cut off, so whether the survey was sent is not known")
    text = _text(answer.body, answer.headers.get("Content-Type", ""))
    return {"answer": {"status": answer.status, "headers": answer.headers, "body": _read(text)}}


def _read(text: str, depth: int = _TEXTS_IN_TEXTS) -> object:
    """The JSON in a text, also when that is a JSON text which holds JSON; without JSON, the text itself."""
    try:
        body = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        if text.lstrip()[:1] in {"{", "["}:
            raise Unclear("the answer is JSON with a mistake, so whether the survey was sent is not known") from error
        return text
    is_json = isinstance(body, str) and body.lstrip()[:1] in {"{", "[", '"'}
    return _read(body, depth - 1) if is_json and depth else body


def _text(body: bytes, content_type: str = "") -> str:
    """The body in the charset that its header names, or else in the Unicode form that its first bytes show."""
    headers = {"Content-Type": content_type}
    try:
        text = httpx.Response(200, headers=headers, content=body, default_encoding=json.detect_encoding).text
    except ValueError:  # the header names a charset that the body is not in
        text = body.decode(errors="replace")
    return text.removeprefix("\ufeff")  # a mark that some systems put first, and that JSON does not allow


def _holds(condition: Condition, scope: Mapping[str, Any]) -> bool:
    try:
        return condition.holds(scope)
    except Rejected as error:  # it compares a text with a number: that is no word about the invitation
        raise Unclear(f"{error}, so whether the survey was sent is not known") from error


def _scalars(body: object) -> Iterator[str]:
    match body:
        case str():
            yield body.strip()
        case dict():
            for inner in body.values():
                yield from _scalars(inner)
        case list():
            for inner in body:
                yield from _scalars(inner)


def _is_link(text: str) -> bool:
    return re.fullmatch(r"https?://[^\s<>\"]{4,2000}", text) is not None


def _at(body: object, path: str) -> object:
    for key in filter(None, path.split(".")):
        if isinstance(body, list):
            body = body[int(key)] if key.isdecimal() and int(key) < len(body) else None
        else:
            body = body.get(key) if isinstance(body, dict) else None
    return body


def _compared(address: object) -> str:
    """An address without name, spaces and capitals, and with the letters of its domain, not their code in ASCII.

    A phone number is its digits.
    """
    if isinstance(address, int) and not isinstance(address, bool):
        return str(address)
    if not isinstance(address, str):
        return ""
    if _PHONE.fullmatch(address):
        return re.sub(r"\D", "", address)
    try:
        found = validate_email(address.strip(), check_deliverability=False, allow_display_name=True).normalized
    except EmailNotValidError:
        found = address.strip()
    return found.lower()
