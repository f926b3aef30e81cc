"""Reads records for surveys: says why a record is missing, and follows a merged one to the record that was kept."""

from connector.errors import Fatal, Rejected
from connector.salesforce import record_ids
from connector.salesforce.soql import Source, Value
from connector.surveys.lookup import Lookup, Row

_MOST_MERGES = 10  # of one record, so that a circle ends


class Gone(Rejected):
    """Salesforce has deleted the record. `kept` is the id of the record that it was merged into, if it was."""

    def __init__(self, message: str, kept: str | None) -> None:
        super().__init__(message, code="record_gone")
        self.kept = kept


class Reader:
    """`rows` reads what Salesforce has now, `deleted` what is in its recycle bin.

    Every method raises:
        Gone: The record is in the recycle bin.
        Rejected: With code `no_record` if Salesforce shows no trace of it: it was deleted long ago, or the user may not
            see it. With code `malformed_id` if `record_id` is none, `UNKNOWN_EXCEPTION` if it fails to read this one.
        Lasts, Fatal: As `Lookup.read` says.
    """

    def __init__(self, rows: Lookup, deleted: Lookup) -> None:
        self._rows = rows
        self._deleted = deleted

    async def read(self, object_name: str, record_id: str, fields: frozenset[str]) -> Row:
        """The record's `fields`."""
        row = await self._rows.read(Source(object_name), record_id, fields)
        if row is None:
            raise await self._missing(object_name, record_id)
        return row

    async def read_kept(self, object_name: str, record_id: str, fields: frozenset[str]) -> Row:
        """The fields of the record, or of the one that it was merged into."""
        for _ in range(_MOST_MERGES):
            try:
                return await self.read(object_name, record_id, fields)
            except Gone as error:
                if error.kept is None:
                    raise
                record_id = error.kept
        raise _merged_too_often(object_name, record_id)

    async def find(self, source: Source, value: Value, fields: frozenset[str]) -> Row | None:
        """The fields of the first record of the source with this value. None if there is none that we may see.

        A merge gives the children of a record to the one that was kept. So if the value is the id of a merged record,
        the children of the one that was kept are meant.
        """
        for _ in range(_MOST_MERGES):
            row = await self._rows.read(source, value, fields)
            object_name = record_ids.mergeable(value)
            if row is not None or object_name is None:
                return row
            trace = await self._trace(object_name, str(value), "IsDeleted", "MasterRecordId")
            if trace is None or not trace["IsDeleted"]:
                return None
            if not trace["MasterRecordId"]:
                raise _gone(object_name, str(value), None)
            value = trace["MasterRecordId"]
        raise _merged_too_often(source.object, value)

    async def _missing(self, object_name: str, record_id: str) -> Rejected:
        trace = await self._trace(object_name, record_id, *_kept_in(object_name))
        if trace is None:
            return Rejected(
                f"Salesforce has no {object_name} {record_id}, or the user may not see it", code="no_record"
            )
        return _gone(object_name, record_id, trace.get("MasterRecordId"))

    async def _trace(self, object_name: str, record_id: str, *fields: str) -> Row | None:
        """What Salesforce has of the record, also in its recycle bin."""
        try:
            return await self._deleted.read(Source(object_name), record_id, fields)
        except (Rejected, Fatal) as error:
            if isinstance(error, Fatal) and error.whole:
                raise  # nothing can be read now, for example because the credential is refused
            if isinstance(error, Rejected) and error.code == "UNKNOWN_EXCEPTION":
                raise  # Salesforce has it, or not: it failed to say
            return None  # the user may not read that, or it only looks like an id: there is no evidence


def _kept_in(object_name: str) -> list[str]:
    return ["MasterRecordId"] if record_ids.can_be_merged(object_name) else []


def _gone(object_name: str, record_id: str, kept: str | None) -> Gone:
    how = f"merged into {kept}" if kept else "deleted"
    return Gone(f"{object_name} {record_id} was {how}", kept)


def _merged_too_often(object_name: str, record_id: object) -> Gone:
    return Gone(f"{object_name} {record_id} was merged more than {_MOST_MERGES} times", None)
