"""Errors of a write that tell the writer what to try next."""

from collections.abc import Mapping

from connector.errors import Rejected, Retryable


class BatchTooLarge(Rejected):
    """The records of one call together broke a limit of a transaction. Fewer records may pass (salesforce §D4)."""


class FieldsRefused(Rejected):
    """Salesforce refused the values of `fields`, each with a code. The record may pass without them.

    `lengths` are the most characters of fields whose text was too long, where Salesforce said it.
    """

    def __init__(
        self, message: str, code: str | None, fields: Mapping[str, str], lengths: Mapping[str, int] | None = None
    ) -> None:
        super().__init__(message, code=code)
        self.fields = fields
        self.lengths = lengths or {}


class Exhausted(Retryable):
    """The org takes no such record for minutes to days: storage, calls or maintenance. The record is not at fault."""


class Failing(Retryable):
    """A 5xx, an UNKNOWN_EXCEPTION, or a firewall's page. The record may be at fault."""
