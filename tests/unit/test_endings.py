"""Which outcomes of a call still need to be written after another owner has decided some of them."""

from datetime import UTC, datetime

from helpers.invitations import invitation

from connector.kafka.cloud_events import OutRecord
from connector.kafka.inbound import InRecord
from connector.records import Outcome
from connector.stages._batches import Entry
from connector.stages._endings import Ending, settlement

RECORD = InRecord("pisano.invitations", 0, 0, b"main", b"", (), 0.0)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


async def test_an_ending_keeps_what_is_open_with_the_dead_letters_that_go_with_it() -> None:
    invitations = [invitation(number) for number in range(3)]
    settlements = tuple(
        settlement(Entry(each, RECORD, 1), Outcome.UNKNOWN, NOW, reason=None, detail="?", attempt=None)
        for each in invitations
    )
    letters = tuple(OutRecord("connector.deadletters", None, each.id.encode(), []) for each in invitations)
    is_decided = {invitations[1].id}.__contains__
    held = Ending(None, settlements, letters).without(is_decided)
    assert held == Ending(None, settlements[::2], letters[::2])
    assert Ending(None, settlements).without(is_decided) == Ending(None, settlements[::2])
