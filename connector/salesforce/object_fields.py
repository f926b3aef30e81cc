"""What Salesforce says about the fields of the objects that we write, asked once an hour (contract: salesforce §D2)."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from connector.errors import Fatal, Rejected, Retryable
from connector.salesforce._refusals import Failing

log = structlog.get_logger(__name__)

_AGAIN = 3600.0  # seconds until we ask again: an administrator who widened a field waits no longer than that
_YOUNG = 60.0  # seconds: a description of this age is not at fault when Salesforce refuses a value
_MOST_DIGITS = 18  # of a number field before the decimal point (Salesforce's field limits)

Describe = Callable[[str], Awaitable[Mapping[str, Any]]]


@dataclass(frozen=True)
class Field:
    """Which values a field takes. `length` is in characters, 0 without a limit; `digits` are those before the point.

    `values` are the active values of a restricted picklist; None means that any value is taken.
    """

    type: str
    length: int = 0
    digits: int = _MOST_DIGITS
    can_be_empty: bool = True
    values: tuple[str, ...] | None = None


Fields = Mapping[str, Field]  # by the field's name in lower case: Salesforce ignores capitals in a name


@dataclass
class _Known:
    at: float
    fields: Fields


class ObjectFields:
    """Asks `describe` once per object and remembers the answer. `clock` is in seconds."""

    def __init__(self, describe: Describe, clock: Callable[[], float]) -> None:
        self._describe = describe
        self._clock = clock
        self._known: dict[str, _Known] = {}
        self._one_call: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def of(self, name: str) -> Fields:
        """The object's fields. There are none when Salesforce does not let us ask: then it decides what fits.

        Raises:
            Retryable: No answer. It is an outage, and no record is at fault.
            Fatal: The credential is refused.
        """
        async with self._one_call[name]:
            known = self._known.get(name)
            if known is None or self._clock() - known.at >= _AGAIN:
                known = self._known[name] = _Known(self._clock(), await self._ask(name))
            return known.fields

    def doubt(self, name: str, fields: Fields) -> bool:
        """Whether `of` now tells something newer than `fields`, which a value does not fit or Salesforce contradicts.

        A description that is older than a minute is forgotten, and `of` asks again.
        """
        known = self._known.get(name)
        if known is None or known.fields is not fields:
            return True
        if self._clock() - known.at < _YOUNG:
            return False
        del self._known[name]
        return True

    async def _ask(self, name: str) -> Fields:
        try:
            described = await self._describe(name)
        except Failing as error:  # a 5xx to this call says nothing about the records that wait
            raise Retryable(str(error), retry_after=error.retry_after) from error
        except (Rejected, Fatal) as error:
            if isinstance(error, Fatal) and error.whole:
                raise
            log.warning("salesforce_does_not_describe_object", object=name, reason=str(error))
            return {}
        fields = described.get("fields")
        if not isinstance(fields, list) or not all(isinstance(each, dict) and "name" in each for each in fields):
            raise Retryable(f"describe {name}: the answer holds no fields; it may come from a proxy")
        return {str(each["name"]).lower(): field_of(each) for each in fields}


def field_of(described: Mapping[str, Any]) -> Field:
    """What a field takes, from its part of the answer to describe."""
    kind = str(described.get("type"))
    digits = int(described.get("precision") or 0) - int(described.get("scale") or 0)
    values = tuple(str(each["value"]) for each in described.get("picklistValues") or () if each.get("active"))
    return Field(
        type=kind,
        length=int(described.get("length") or 0),
        digits=digits if digits > 0 else _MOST_DIGITS,
        can_be_empty=described.get("nillable") is not False and kind != "boolean",
        values=values if described.get("restrictedPicklist") else None,
    )
