"""Reads records for surveys: says why a record is missing, and follows a merged one to the record that was kept."""

from connector.errors import Fatal, Rejected
from connector.salesforce.soql import MERGEABLE, Source, Value
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
            see it. With code `malformed_id` if `record_id` is none.
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
        raise Gone(f"{object_name} {record_id} was merged more than {_MOST_MERGES} times", None)

    async def find(self, source: Source, value: Value, fields: frozenset[str]) -> Row | None:
        """The fields of the first record of the source with this value. None if there is none that we may see."""
        return await self._rows.read(source, value, fields)

    async def _missing(self, object_name: str, record_id: str) -> Rejected:
        fields = ["MasterRecordId"] if object_name.lower() in MERGEABLE else []
        try:
            trace = await self._deleted.read(Source(object_name), record_id, fields)
        except Fatal as error:
            if error.whole:
                raise  # nothing can be read now, for example because the credential is refused
            trace = None  # the user may not read that, so there is no evidence
        if trace is None:
            return Rejected(
                f"Salesforce has no {object_name} {record_id}, or the user may not see it", code="no_record"
            )
        kept = trace.get("MasterRecordId")
        how = f"merged into {kept}" if kept else "deleted"
        return Gone(f"{object_name} {record_id} was {how}", kept)
