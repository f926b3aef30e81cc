"""Made-up invitations, and their outcomes in the ledger."""

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime

from connector.config import Kafka
from connector.kafka.cloud_events import OutRecord, to_record
from connector.kafka.ledger import read_entry
from connector.records import Invitation, Settlement, digest
from helpers import topics

CAMPAIGN = "4711"
KEYS = ("branch_id", "agent_name", "transaction_type", "sf_ref_id")


def invitation(number: int, **changes: object) -> Invitation:
    """The invitation of made-up customer `number`, the same every time."""
    return Invitation(
        id=digest("made up", str(number)),
        survey="closed-case",
        account="main",
        campaign=CAMPAIGN,
        email=f"customer-{number}@example.com",
        built_in_responses={"sf_ref_id": f"case-{number}"},
        entity="Case",
        record_id=f"case-{number}",
        cause=f"cause-{number}",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    ).model_copy(update=changes)


def as_records(kafka: Kafka, invitations: Iterable[Invitation]) -> list[OutRecord]:
    """The records that trigger would write."""
    return [
        to_record(
            kafka.topic_prefix + "pisano.invitations",
            invitation.account,
            invitation,
            ce_type="pisano.invitation",
            ce_source=f"/surveys/{invitation.survey}",
            ce_id=invitation.id,
            ce_time=invitation.created_at,
        )
        for invitation in invitations
    ]


async def outcomes(kafka: Kafka) -> dict[str, Counter[str]]:
    """How often the ledger holds each outcome of each invitation. Correct is exactly one outcome, once."""
    found: dict[str, Counter[str]] = {}
    for record in await topics.read(kafka, "pisano.attempts"):
        entry = read_entry(record.value)
        if isinstance(entry, Settlement):
            found.setdefault(entry.invitation, Counter())[entry.outcome] += 1
    return found
