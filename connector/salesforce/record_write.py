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
        """What writes must share to travel in one call."""
        return self.operation, self.object, self.key_field

    @property
    def record(self) -> tuple[str, str]:
        """What writes share that must keep their order, and must not travel in one call.

        An Id has 15 or 18 characters, and an external id is the same in capitals unless the field was made otherwise.
        """
        return self.object, self.key[:15] if self.key_field == "Id" else self.key.casefold()
