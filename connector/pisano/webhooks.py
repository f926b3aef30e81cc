"""Pure functions about a webhook of Pisano: is it authentic, what does it say, have we seen it (pisano §4)?"""

import hashlib
import hmac
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, FiniteFloat, TypeAdapter

from connector.records import digest
from connector.values import exact
from connector.values.times import iso

FieldType = Literal["integer", "number", "boolean", "string"]

SECRET_HEADER = "X-Webhook-Secret"  # noqa: S105 - the name of a header
_INT64 = Annotated[int, Field(ge=-(2**63), lt=2**63)]  # a number in Salesforce has 18 digits at most
_ADAPTERS: dict[str, TypeAdapter[Any]] = {
    "integer": TypeAdapter(_INT64),
    "number": TypeAdapter(FiniteFloat),
    "boolean": TypeAdapter(bool),
    "string": TypeAdapter(str, config=ConfigDict(coerce_numbers_to_str=True)),
}
_TIME = TypeAdapter(datetime)
_TEST = re.compile(rb'"connector test ([0-9a-f]{32})"')


@dataclass(frozen=True)
class Answer:
    """`values` are the body's, with the declared types. `misfits` are values that did not fit theirs, as they came;
    in `values` they are None.
    """

    values: dict[str, Any]
    misfits: dict[str, Any] = field(default_factory=dict)


def authentic(
    headers: Mapping[str, str], path_token: str | None, secrets: Collection[str], *, header: str = SECRET_HEADER
) -> bool:
    """Whether the header or the last segment of the path holds one of the secrets. The comparison takes constant time.

    `headers` must ignore case, as those of aiohttp do. We rely on a shared secret, as Pisano signs nothing (pisano §4).
    """
    given = (headers.get(header, ""), path_token or "")
    return sum(_same(one, secret) for one in given for secret in secrets if secret) > 0


def trial_body(nonce: str) -> bytes:
    """The body of a webhook that only tests the way. A JSON text, so that no version takes it for an answer."""
    return f'"connector test {nonce}"'.encode()


def trial_nonce(body: bytes) -> str | None:
    """The nonce of such a body, 32 hex digits; None for any other."""
    found = _TEST.fullmatch(body)
    return found[1].decode() if found else None


def trial_answer(account: str, nonce: str) -> str:
    """What receive answers."""
    return f"test {nonce} of {account} arrived; nothing is stored"


def answer(body: Mapping[str, Any], field_types: Mapping[str, FieldType]) -> Answer:
    """The body's fields. A field with a declared type is converted to it; empty, it is None, because Pisano renders an
    unanswered question as an empty text (pisano §4). All other fields stay as they came.
    """
    values, misfits = dict(body), {}
    for name, wanted in field_types.items():
        if name not in body:
            continue
        try:
            values[name] = _typed(body[name], wanted)
        except ValueError:
            values[name], misfits[name] = None, body[name]
    return Answer(values, misfits)


def identity(body: Mapping[str, Any], keys: Sequence[str]) -> tuple[str, ...] | None:
    """The values that name the answer, as JSON; None when the body lacks one of them, or there are no `keys`."""
    values = [body.get(key) for key in keys]
    if not keys or any(value is None or value == "" for value in values):
        return None
    return tuple(exact.dumps(value).decode() for value in values)


def content(body: Mapping[str, Any], ignored: Collection[str]) -> bytes:
    """What two bodies have in common when only the order of their keys and the `ignored` keys differ."""
    return exact.dumps({key: body[key] for key in sorted(body) if key not in ignored})


def feedback_id(account: str, body: bytes, place: int = 0) -> str:
    """An id that is the same for every re-send of the same bytes, because Pisano sends no event id (pisano §4).

    `place` counts the answers in one body from 0.
    """
    return digest("feedback", account, hashlib.sha256(body).hexdigest(), *([str(place)] if place else []))


def moment(value: object) -> datetime | None:
    """A time in ISO 8601 or as Ruby writes it, or since 1970, in seconds or milliseconds. None for all else.

    Without a zone it is UTC, as the result is.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        return None
    try:
        given = iso(value.strip()) if isinstance(value, str) else value
        found = _TIME.validate_python(float(given) if isinstance(given, Decimal) else given)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _typed(value: Any, wanted: FieldType) -> Any:
    if value is None or value == "":
        return None
    if isinstance(value, bool) and wanted != "boolean":
        raise ValueError("true must not become 1 or the text True")
    if wanted == "number":
        return _number(value)
    return _ADAPTERS[wanted].validate_python(value)


def _number(value: Any) -> int | float | Decimal:
    """The number with its digits, if JSON could hold it as it is; a float for other spellings, such as +5 or .5."""
    as_float: float = _ADAPTERS["number"].validate_python(value)
    if not isinstance(value, str):
        return value  # type: ignore[no-any-return]
    try:
        number = exact.loads(value.strip().encode())
    except ValueError:
        return as_float
    return number if isinstance(number, int | float | Decimal) else as_float


def _same(given: str, secret: str) -> bool:
    # Headers and paths may hold lone surrogates where the bytes were not UTF-8.
    return hmac.compare_digest(given.encode(errors="surrogatepass"), secret.encode(errors="surrogatepass"))
