"""The shapes that settings are written in: durations, shares, addresses, names. Each says in words what is allowed."""

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from connector.limits import Window

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LOOPBACK = re.compile(r"^(localhost|127(\.\d{1,3}){3}|\[::1\])$")


def _seconds(value: object) -> object:
    """`90`, `90s`, `15m`, `2h` and `30d` become seconds; anything else is left for pydantic to refuse."""
    if isinstance(value, str):
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)", value)
        if not match:
            raise ValueError("a duration is a number with a unit: 30s, 15m, 2h or 30d")
        return float(match[1]) * _UNITS[match[2] or "s"]
    return value


def _share(value: object) -> object:
    """`25%` becomes 0.25."""
    if isinstance(value, str):
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", value)
        if not match:
            raise ValueError("a share is a percentage: 25%")
        return float(match[1]) / 100
    return value


def _window(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return Window.parse(value)
    except ValueError:  # its message repeats the value, which may come from the environment
        raise ValueError("a limit is calls per time, such as 20/5s, 40/2m or 100/1h") from None


def _shape(pattern: str, words: str) -> AfterValidator:
    """A text of a certain shape; `words` say which, for whoever wrote another."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(words)
        return text

    return AfterValidator(check)


Seconds = Annotated[float, BeforeValidator(_seconds), Field(ge=0)]
Timeout = Annotated[float, BeforeValidator(_seconds), Field(gt=0)]
Share = Annotated[float, BeforeValidator(_share), Field(ge=0, le=1)]
Limit = Annotated[Window, BeforeValidator(_window)]
Name = Annotated[str, _shape(r"[a-z0-9][a-z0-9_-]{0,62}", "a name is up to 63 of a-z, 0-9, _ and -")]
FieldName = Annotated[str, _shape(r"[A-Za-z][A-Za-z0-9_]*", "an API name is letters, digits and _, such as Branch__c")]
VariableName = Annotated[str, _shape(r"[a-z][a-z0-9_]*", "a variable's name is a-z, 0-9 and _")]


def is_loopback(host: str) -> bool:
    """Whether a host, as written in an address, is this machine."""
    return _LOOPBACK.match(host) is not None


def _require_loopback_for_plain_http(url: str) -> str:
    """Credentials travel in these calls: plain text is for the doubles on this machine only."""
    match = re.match(r"^(https?)://(\[[^\]]*\]|[^/:?#@\s]+)(:\d+)?(/[^?#]*)?$", url)
    if not match:
        raise ValueError("an address starts with https:// and names a host, without query or fragment")
    if match[1] == "http" and not is_loopback(match[2]):
        raise ValueError("http:// is allowed for loopback addresses only; use https://")
    return url.rstrip("/")


Url = Annotated[str, BeforeValidator(lambda v: _require_loopback_for_plain_http(v) if isinstance(v, str) else v)]
Brokers = Annotated[str, _shape(r"[^\s,:]+:\d+(,[^\s,:]+:\d+)*", "brokers are written host:port,host:port")]
TopicPrefix = Annotated[str, _shape(r"[a-zA-Z0-9._-]{0,64}", "a prefix is up to 64 of a-z, A-Z, 0-9, . _ -")]
Endpoint = Annotated[str, _shape(r"[^\s/:]+:\d+", "an endpoint is written host:port")]
ApiVersion = Annotated[str, _shape(r"\d{2,3}\.0", "an API version is written 66.0")]
ClientName = Annotated[str, _shape(r"[A-Za-z0-9._-]{1,40}", "a client name is 1 to 40 of a-z, A-Z, 0-9, . _ -")]
UrlPath = Annotated[str, _shape(r"(/[A-Za-z0-9._~-]+)+", "a path is written /pisano/main")]
Channel = Annotated[
    str,
    _shape(
        r"/data/(ChangeEvents|[A-Za-z0-9_]+ChangeEvent|[A-Za-z0-9_]+__chn)|/event/[A-Za-z0-9_]+__e",
        "a channel is /data/CaseChangeEvent, /data/Store__ChangeEvent, /data/Name__chn, /data/ChangeEvents "
        "or /event/Name__e",
    ),
]
