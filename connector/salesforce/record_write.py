"""One write of a record, as a stage asks for it."""

from dataclasses import dataclass, field
from typing import Literal

from connector.records import Scalar


@dataclass(frozen=True)
class RecordWrite:
    """One record to upsert by an external id field, or to update by Id (`key_field` is then Id)."""

    operation: Literal["upsert", "update"]
    object: str
    key_field: str
    key: str
    fields: dict[str, Scalar | None] = field(repr=False)

    @property
    def target(self) -> tuple[str, str, str]:
        """Only writes with the same target can be in one call."""
        return self.operation, self.object, self.key_field

    @property
    def record(self) -> tuple[str, str]:
        """Writes with the same record must keep their order, and must not be in one call.

        An Id has 15 or 18 characters. An external id ignores capitals, unless its field was made case-sensitive.
        """
        return self.object, self.key[:15] if self.key_field == "Id" else self.key.casefold()
