"""What receive makes of one webhook: the answers in its body as feedback, and what cannot be read."""

import base64
import codecs
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from connector.config import Webhook
from connector.pisano import answer, content, feedback_id, identity, moment, read_body
from connector.records import Feedback, Raw, digest
from connector.values import exact
from connector.values.times import AHEAD

_LONGEST_RAW = 64 * 1024  # bytes kept beside an answer; with the answer itself they must fit into one record


class TooLarge(ValueError):
    """The body, or what it unpacks to, has more bytes than the webhook takes."""


@dataclass(frozen=True)
class Sent:
    """A webhook as it arrived. `content_type` has no parameters; `headers` are those that say how to read the bytes."""

    body: bytes = field(repr=False)
    content_type: str = "application/json"
    charset: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Unreadable:
    """A body, or an answer in it, that cannot be read. `error` holds no values."""

    body: bytes = field(repr=False)
    error: ValueError


def unpacked(body: bytes, encoding: str, most: int) -> bytes:
    """The body without its content encoding, gzip or deflate. Any other body stays as it is.

    Raises:
        TooLarge: It would have more than `most` bytes.
    """
    if encoding.strip().lower() not in {"gzip", "x-gzip", "deflate"}:
        return body
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)  # reads both
    try:
        plain = unpacker.decompress(body, most + 1)
    except zlib.error:
        return body
    if len(plain) > most:
        raise TooLarge(f"a webhook's body may have at most {most} bytes")
    return plain if unpacker.eof and not unpacker.unused_data else body


class Answers:
    """Reads the webhooks of one account. The same body gives the same ids."""

    def __init__(self, account: str, webhook: Webhook) -> None:
        self._account = account
        self._webhook = webhook

    def read(self, sent: Sent, received_at: datetime) -> list[Feedback | Unreadable]:
        """Each answer in the body, in its order; at least one result."""
        try:
            body = read_body(sent.body, sent.content_type, sent.charset)
        except ValueError as error:
            return [Unreadable(sent.body, error)]
        found: list[Feedback | Unreadable] = []
        for place, value in enumerate(body.values):
            try:
                found.append(self._one(value, place, sent, received_at, body.not_strict))
            except ValueError as error:
                part = sent.body if len(body.values) == 1 else exact.dumps(value)
                found.append(Unreadable(part, error))
        return found

    def _one(self, body: Any, place: int, sent: Sent, received_at: datetime, not_strict: tuple[str, ...]) -> Feedback:
        webhook = self._webhook
        if not isinstance(body, dict):
            raise ValueError("the answer is not a JSON object")  # noqa: TRY004 - one error for all that can be wrong
        typed = answer(body, webhook.fields)
        misfits = dict(typed.misfits)
        if misfits and webhook.misfit == "dead_letter":
            wanted = ", ".join(f"{name!r} should be {webhook.fields[name]}" for name in misfits)
            raise ValueError(f"a value does not fit its type: {wanted}")
        time = body.get(webhook.answered_at) if webhook.answered_at else None
        answered_at = moment(time)
        if answered_at is not None and answered_at > received_at + AHEAD:
            answered_at = None
        named = identity(body, webhook.identity)
        if webhook.answered_at and answered_at is None and time is not None and time != "":
            misfits[webhook.answered_at] = time
            named = named and (*named, str(time))  # an answer may grow, and its time is what tells the versions apart
        return Feedback(
            id=digest("answer", self._account, *named) if named else self._content_id(body, place, sent),
            account=self._account,
            received_at=received_at,
            answered_at=answered_at,
            repeats_until=None if named else received_at + timedelta(seconds=webhook.repeats_within),
            body=typed.values,
            misfits=misfits,
            not_strict=not_strict,
            raw=_raw(sent) if misfits or not_strict else None,
        )

    def _content_id(self, body: dict[str, Any], place: int, sent: Sent) -> str:
        ignored = self._webhook.identity_ignores
        return feedback_id(self._account, content(body, ignored) if ignored else sent.body, place)


def _raw(sent: Sent) -> Raw:
    kept, length, content_type = sent.body[:_LONGEST_RAW], len(sent.body), sent.headers.get("Content-Type", "")
    try:
        text, _ = codecs.utf_8_decode(kept, "strict", len(kept) == length)  # a cut may split a character
    except UnicodeDecodeError:
        text = base64.b64encode(kept).decode()
        return Raw(content=text, encoding="base64", bytes=length, content_type=content_type)
    return Raw(content=text, encoding="utf-8", bytes=length, content_type=content_type)
