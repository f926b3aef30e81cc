"""What a webhook of Pisano is worth: is it authentic, what does it say, have we seen it (pisano §4). Pure functions."""

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
    """Whether the secret stands in the header, or is the last segment of the path; in constant time.

    `headers` ignores case, as those of aiohttp do. A shared secret is all there is: Pisano signs nothing (pisano §4).
    """
    if not secret:
        return False
    in_header = _same(headers.get(header, ""), secret)
    in_path = _same(path_token or "", secret)
    return in_header or in_path


def parse(body: bytes, field_types: Mapping[str, FieldType]) -> dict[str, Any]:
    """The body as a JSON object: an empty string is None, a field with a type has it, all others are as they came.

    Raise ValueError saying what is wrong, without any value. The admin types the template by hand, so quotes in a
    customer's free text may leave no JSON at all (pisano §4).
    """
    try:
        values = orjson.loads(body.removeprefix(codecs.BOM_UTF8))  # which some editors put before a template
    except orjson.JSONDecodeError as error:
        raise ValueError(f"the body is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise ValueError(f"the body is not a JSON object but {_JSON_TYPES[type(values)]}")  # noqa: TRY004 - one error for all that can be wrong
    return {name: _typed(name, value, field_types.get(name)) for name, value in values.items()}


def feedback_id(account: str, body: bytes) -> str:
    """The same for every re-send of the same bytes: Pisano names no event id (pisano §4)."""
    return digest("feedback", account, hashlib.sha256(body).hexdigest())


def _typed(name: str, value: Any, wanted: FieldType | None) -> Any:
    if value is None or value == "":
        return None
    if wanted is None:
        return value
    fits = not isinstance(value, bool) or wanted == "boolean"  # True is no 1, and "True" is how nobody writes it
    try:
        if fits:
            return _ADAPTERS[wanted].validate_python(value)
    except ValidationError:
        pass
    raise ValueError(f"field {name!r} should be {wanted}; this {_JSON_TYPES[type(value)]} does not fit") from None


def _same(given: str, secret: str) -> bool:
    # Headers and paths may hold lone surrogates where the bytes were not UTF-8.
    return hmac.compare_digest(given.encode(errors="surrogatepass"), secret.encode(errors="surrogatepass"))
