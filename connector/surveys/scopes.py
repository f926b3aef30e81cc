"""What a survey's templates can name: the changed record, the event, what changed, and the lookups."""

from collections.abc import Iterable, Mapping
from typing import Any

from connector.records import ChangeEvent
from connector.templates import Values


def scope_of(event: ChangeEvent, lookups: Iterable[str]) -> dict[str, Any]:
    """What the event alone says. Of the lookups nothing is known yet."""
    return {
        "record": Values(known(event)),
        "changed": _changed(event),
        "nulled": list(event.nulled_fields),
        "event": {
            "id": event.id,
            "change_type": event.change_type,
            "entity": event.entity,
            "record_id": event.record_id,
            "committed_at": event.committed_at.isoformat(),
            "origin": event.change_origin,
            "user": event.commit_user,
            "channel": event.channel,
        },
        **{name: Values({}) for name in lookups},
    }


def known(event: ChangeEvent) -> dict[str, Any]:
    """The record's values in the event. A change event has the Id only in its header, so it is added here."""
    return {"Id": event.record_id, **event.fields}


def nested(fields: Iterable[str], row: Mapping[str, Any] | None) -> dict[str, Any]:
    """A row's values for these fields, in a mapping for each record on the way: `Account.Name` is in `Account`.

    Where there is no row, or no record on the way, the value is None.
    """
    values: dict[str, Any] = {}
    for path in fields:
        *way, last = path.split(".")
        into, source = values, row
        for name in way:
            into = into.setdefault(name, {})
            source = source.get(name) if source else None
        into[last] = source.get(last) if source else None
    return values


def _changed(event: ChangeEvent) -> list[str]:
    """A CREATE names no changed fields (salesforce §B3), but a record can be created in the state that invites."""
    if event.change_type == "CREATE":
        return [field for field, value in event.fields.items() if value is not None]
    return list(event.changed_fields)
