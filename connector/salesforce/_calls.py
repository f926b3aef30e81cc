"""The calls that the writer makes."""

from collections.abc import Sequence
from typing import Any, Protocol

from connector.errors import Fatal, Rejected, Retryable
from connector.salesforce import record_ids, soql
from connector.salesforce._entry import Entry
from connector.salesforce.record_write import CallOptions
from connector.salesforce.rest import Result


class Collections(Protocol):
    """`RestClient` has these calls."""

    async def upsert(
        self, object_name: str, external_field: str, records: Sequence[dict[str, object]], options: CallOptions
    ) -> list[Result]:
        """Per-record results in order."""

    async def update(
        self, object_name: str, records: Sequence[dict[str, object]], options: CallOptions
    ) -> list[Result]:
        """Per-record results in order."""

    async def describe(self, object_name: str) -> dict[str, Any]:
        """What the org says about an object and its fields."""

    async def query(self, query: str, *, deleted: bool = False) -> list[dict[str, Any]]:
        """The rows of a query; `deleted`: with deleted records."""

    async def limits(self) -> object:
        """The org's allowances. If they come, the org answers."""


async def write(rest: Collections, batch: Sequence[Entry]) -> list[Result]:
    """Writes what fits of entries with one target."""
    name = batch[0].write.target
    records: list[dict[str, object]] = [{**each.fitted.fields, name.key_field: each.write.key} for each in batch]
    if name.operation == "upsert":
        return await rest.upsert(name.object, name.key_field, records, name.options)
    return await rest.update(name.object, records, name.options)


async def answers(rest: Collections) -> bool:
    """Whether the org answers another call, if only that the user may not ask. If it does, there is no outage."""
    try:
        await rest.limits()
    except (Rejected, Fatal) as error:  # a login that is refused is no answer of the org
        return not (isinstance(error, Fatal) and error.whole)
    except Retryable:
        return False
    return True


async def survivor(rest: Collections, object_name: str, record_id: str) -> str | None:
    """The Id of the record that this one was merged into, or None. Only queryAll sees a merged record.

    Raises:
        Retryable: No answer.
    """
    if not record_ids.can_be_merged(object_name):
        return None
    where = f"WHERE Id = {soql.literal(record_id)}"
    try:
        rows = await rest.query(f"SELECT MasterRecordId FROM {object_name} {where}", deleted=True)  # noqa: S608 - SOQL
    except (Rejected, Fatal):
        return None
    return next((str(row["MasterRecordId"]) for row in rows if row.get("MasterRecordId")), None)
