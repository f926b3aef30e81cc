"""Pure functions about a webhook of Pisano: is it authentic, what does it say, have we seen it (pisano §4)?"""

import codecs
import hashlib
import hmac
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import orjson
from pydantic import ConfigDict, Field, FiniteFloat, TypeAdapter, ValidationError

from connector.records import digest

FieldType = Literal["integer", "number", "boolean", "string"]

SECRET_HEADER = "X-Webhook-Secret"  # noqa: S105 - the name of a header
_INT64 = Annotated[int, Field(ge=-(2**63), lt=2**63)]  # what JSON writers and Salesforce can hold
_ADAPTERS: dict[str, TypeAdapter[Any]] = {
    "integer": TypeAdapter(_INT64),
    "number": TypeAdapter(FiniteFloat),
    "boolean": TypeAdapter(bool),
    "string": TypeAdapter(str, config=ConfigDict(coerce_numbers_to_str=True)),
}
_JSON_TYPES = {
    type(None): "null",
    bool: "boolean",
    int: "number",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
}


def authentic(headers: Mapping[str, str], path_token: str | None, secret: str, *, header: str = SECRET_HEADER) -> bool:
    """Whether the header or the last segment of the path holds the secret. The comparison takes constant time.

    `headers` must ignore case, as those of aiohttp do. We rely on a shared secret, as Pisano signs nothing (pisano §4).
    """
    if not secret:
        return False
    in_header = _same(headers.get(header, ""), secret)
    in_path = _same(path_token or "", secret)
    return in_header or in_path


def parse(body: bytes, field_types: Mapping[str, FieldType]) -> dict[str, Any]:
    """The body as a JSON object. An empty string becomes None, and a field with a type is converted to that type. All
    other fields stay as they came.

    Raise ValueError that says what is wrong, without any value. The admin types the template by hand, so quotes in a
    customer's free text may break the JSON (pisano §4).
    """
    try:
        values = orjson.loads(body.removeprefix(codecs.BOM_UTF8))  # some editors put a BOM before a template
    except orjson.JSONDecodeError as error:
        raise ValueError(f"the body is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise ValueError(f"the body is not a JSON object but {_JSON_TYPES[type(values)]}")  # noqa: TRY004 - one error for all that can be wrong
    return {name: _typed(name, value, field_types.get(name)) for name, value in values.items()}


def feedback_id(account: str, body: bytes) -> str:
    """An id that is the same for every re-send of the same bytes, because Pisano sends no event id (pisano §4)."""
    return digest("feedback", account, hashlib.sha256(body).hexdigest())


def _typed(name: str, value: Any, wanted: FieldType | None) -> Any:
    if value is None or value == "":
        return None
    if wanted is None:
        return value
    fits = not isinstance(value, bool) or wanted == "boolean"  # true must not become 1 or the text "True"
    try:
        if fits:
            return _ADAPTERS[wanted].validate_python(value)
    except ValidationError:
        pass
    raise ValueError(f"field {name!r} should be {wanted}; this {_JSON_TYPES[type(value)]} does not fit") from None


def _same(given: str, secret: str) -> bool:
    # Headers and paths may hold lone surrogates where the bytes were not UTF-8.
    return hmac.compare_digest(given.encode(errors="surrogatepass"), secret.encode(errors="surrogatepass"))
