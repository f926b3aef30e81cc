"""The types of settings: durations, shares, addresses, names. Each says in words what is allowed."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import phonenumbers
from pydantic import AfterValidator, BeforeValidator, Field, GetCoreSchemaHandler, SecretStr
from pydantic_core import CoreSchema, core_schema

from connector.config.model import Allowed
from connector.limits import Window
from connector.templates import Template

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LONGEST = 10 * 366 * 86400.0  # seconds: ten years is a typing mistake, and no event loop waits that long
_SHORTEST_KEPT = 3600.0  # seconds: less means a forgotten unit, or records lost while a stage is away for a moment
_LOOPBACK = re.compile(r"localhost|127(\.\d{1,3}){3}|\[::1\]")


def _number(value: object) -> object:
    """Refuses true and false, because pydantic itself takes true for 1."""
    if isinstance(value, bool):
        raise ValueError("a number is wanted here")  # noqa: TRY004 - for pydantic
    return value


def seconds(value: object) -> object:
    """`90`, `90s`, `15m`, `2h` and `30d` become seconds; anything else is left for pydantic to refuse."""
    if isinstance(value, str):
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)", value)
        if not match:
            raise ValueError("a duration is a number with a unit: 30s, 15m, 2h or 30d")
        return float(match[1]) * _UNITS[match[2] or "s"]
    return _number(value)


def _long_enough(seconds: float) -> float:
    if seconds < _SHORTEST_KEPT:
        raise ValueError("records are kept for at least 1h; a number without a unit is seconds")
    return seconds


def _share(value: object) -> object:
    """`25%` becomes 0.25."""
    if isinstance(value, str):
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", value)
        if not match:
            raise ValueError("a share is a percentage: 25%")
        return float(match[1]) / 100
    return _number(value)


def _window(value: object) -> Window:
    try:
        return value if isinstance(value, Window) else Window.parse(str(value))
    except ValueError:  # its message repeats the value, which may come from the environment
        raise ValueError("a limit is calls per time, such as 20/5s, 40/2m or 100/1h") from None


def _not_blank(template: Template) -> Template:
    if not template.source.strip():
        raise ValueError("this is empty; a template is wanted here")
    return template


@dataclass(frozen=True)
class _Shape(Allowed):
    """A text, perhaps a secret, for which `is_right` holds. The error for any other is `says` and the words."""

    is_right: Callable[[str], object] = bool
    says: str = ""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def _check(self, text: str | SecretStr) -> str | SecretStr:
        if not self.is_right(text.get_secret_value() if isinstance(text, SecretStr) else text):
            raise ValueError(f"{self.says} {self.words}")
        return text


def _shape(pattern: str, says: str, words: str) -> _Shape:
    return _Shape(words, is_right=re.compile(pattern, re.DOTALL).fullmatch, says=says)


_NOT_EMPTY = _shape(".*\\S.*", "this is empty;", "a text is wanted here")
_IN_A_HEADER = _shape(
    "[!-~]+", "this travels in a header: it is made of", "letters, digits and signs of ASCII, without spaces"
)
_DURATION = Allowed("seconds, or like 30s, 15m, 2h, 30d", "{:g}s".format)
_TIMEOUT = Allowed("seconds above 0, or like 30s, 15m, 2h", _DURATION.written)
_SHARE = Allowed("like 25%", "{:.0%}".format)

Whole = Annotated[int, BeforeValidator(_number)]
Number = Annotated[float, BeforeValidator(_number)]
HttpError = Annotated[Whole, Field(ge=400, le=599)]
Seconds = Annotated[float, BeforeValidator(seconds), Field(ge=0, le=_LONGEST), _DURATION]
Timeout = Annotated[float, BeforeValidator(seconds), Field(gt=0, le=_LONGEST), _TIMEOUT]
Retention = Annotated[Seconds, AfterValidator(_long_enough), Allowed("at least 1h, like 36h or 30d")]
Share = Annotated[float, BeforeValidator(_share), Field(ge=0, le=1), _SHARE]
ShareBelowAll = Annotated[Share, Field(lt=1), Allowed("like 25%, below 100%", _SHARE.written)]
Limit = Annotated[Window, BeforeValidator(_window), Allowed("calls per time, like 20/5s, 40/2m or 100/1h")]
Text = Annotated[str, _NOT_EMPTY, Allowed("text")]
Secret = Annotated[SecretStr, _NOT_EMPTY, Allowed("secret")]
HeaderSecret = Annotated[SecretStr, _IN_A_HEADER, Allowed("secret, without spaces")]
NotBlank = Annotated[Template, AfterValidator(_not_blank)]
HeaderName = Annotated[str, _shape("[A-Za-z0-9_-]+", "a header's name is", "letters, digits, - and _")]
Name = Annotated[str, _shape(r"[a-z0-9][a-z0-9_-]{0,62}", "a name is", "up to 63 of a-z, 0-9, _ and -")]
_FIELD_NAME = r"[A-Za-z][A-Za-z0-9_]*"
_FIELD_PATH = rf"{_FIELD_NAME}(\.{_FIELD_NAME}){{0,5}}"  # Salesforce follows five relationships
FieldName = Annotated[str, _shape(_FIELD_NAME, "an API name is", "letters, digits and _, such as Branch__c")]
FieldPath = Annotated[
    str,
    _shape(
        _FIELD_PATH,
        "a field is",
        "an API name such as Branch__c, or a path of them such as Account.Parent.Name",
    ),
]
Order = Annotated[
    str,
    _shape(
        rf"{_FIELD_PATH}( (asc|desc))?( nulls (first|last))?",
        "an order is",
        "a field, perhaps with asc or desc, such as CreatedDate desc",
    ),
]
VariableName = Annotated[str, _shape(r"[a-z][a-z0-9_]*", "a variable's name is", "a-z, 0-9 and _")]
_KEYS = r"[^.\s$\[\]/\\\"'*]+"
Keys = Annotated[
    str, _shape(rf"{_KEYS}(\.{_KEYS})*", "a path is", "keys and places in lists, with points between: data.0.results")
]
KeysOrAll = Annotated[
    str,
    _shape(
        rf"\.?|{_KEYS}(\.{_KEYS})*",
        "a path is",
        "keys and places in lists, with points between, such as data.0.results; or . for the whole body",
    ),
]
Region = Annotated[
    str,
    _Shape(
        "two capital letters, such as TR or GB",
        is_right=lambda text: text in phonenumbers.SUPPORTED_REGIONS,
        says="a country is written with",
    ),
]
CampaignId = Annotated[str, _shape(r"[A-Za-z0-9_.-]+", "a campaign is", "its id in Pisano: letters, digits, - and _")]
FlowId = Annotated[str, _shape(r"[A-Za-z0-9_.-]+", "a flow is", "its id in Pisano: letters, digits, - and _")]


def is_loopback(host: str) -> bool:
    """Whether a host, as written in an address, is this machine."""
    return _LOOPBACK.fullmatch(host) is not None


def _require_loopback_for_plain_http(url: str) -> str:
    """These calls carry credentials, so plain text is allowed only for the doubles on this machine."""
    match = re.fullmatch(r"(https?)://(\[[^\]]*\]|[^/:?#@\s]+)(:(\d+))?(/[^?#\s]*)?", url)
    if not match or (match[4] and not _is_port(match[4])):
        raise ValueError("an address starts with https:// and names a host, without query or fragment")
    if match[1] == "http" and not is_loopback(match[2]):
        raise ValueError("http:// is allowed for loopback addresses only; use https://")
    return url.rstrip("/")


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and 0 < int(text) < 65536


def _is_host_and_port(text: str) -> bool:
    host, _, port = text.rpartition(":")
    return re.fullmatch(r"[^\s/,:@\[\]]+|\[[0-9a-fA-F:.]+\]", host) is not None and _is_port(port)


def _are_brokers(text: str) -> bool:
    return all(map(_is_host_and_port, text.split(",")))


Url = Annotated[
    str,
    AfterValidator(_require_loopback_for_plain_http),
    Allowed("an https:// address; http:// for loopback addresses only"),
]
Brokers = Annotated[str, _Shape("host:port,host:port", is_right=_are_brokers, says="brokers are written")]
Endpoint = Annotated[str, _Shape("host:port", is_right=_is_host_and_port, says="an endpoint is written")]
TopicPrefix = Annotated[str, _shape(r"[a-zA-Z0-9._-]{0,64}", "a prefix is", "up to 64 of a-z, A-Z, 0-9, . _ -")]
ApiVersion = Annotated[str, _shape(r"\d{2,3}\.0", "an API version is written", "like 66.0")]
ClientName = Annotated[str, _shape(r"[A-Za-z0-9._-]{1,40}", "a client name is", "1 to 40 of a-z, A-Z, 0-9, . _ -")]
UrlPath = Annotated[str, _shape(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+", "a path is written", "like /pisano/main")]
Channel = Annotated[
    str,
    _shape(
        r"/data/(ChangeEvents|[A-Za-z0-9_]+ChangeEvent|[A-Za-z0-9_]+__chn)|/event/[A-Za-z0-9_]+__e",
        "a channel is",
        "/data/CaseChangeEvent, /data/Store__ChangeEvent, /data/Name__chn, /data/ChangeEvents or /event/Name__e",
    ),
]
