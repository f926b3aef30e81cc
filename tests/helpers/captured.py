"""Reads what capture has written, as any other client would."""

from collections.abc import Iterable

from connector.config import Kafka
from connector.kafka.channel_log import POSITIONS
from connector.records import ChangeEvent, Position
from helpers import topics
from helpers.service import Setup, why_held

CASES = "/data/CaseChangeEvent"
CASE_TOPIC = "salesforce.cdc.Case"


async def events(kafka: Kafka, topic: str = CASE_TOPIC) -> list[ChangeEvent]:
    """Every change event on a topic."""
    return [ChangeEvent.model_validate_json(record.value) for record in await topics.read(kafka, topic)]


async def position(kafka: Kafka, channel: str = CASES) -> Position | None:
    """The position from which a channel would resume now."""
    records = [record for record in await topics.read(kafka, POSITIONS) if record.key == channel.encode()]
    return Position.model_validate_json(records[-1].value) if records else None


async def captured(kafka: Kafka, count: int, topic: str = CASE_TOPIC) -> bool:
    """Whether `count` events are there. Fails if there are more, because waiting does not help then."""
    found = len(await topics.read(kafka, topic))
    assert found <= count
    return found == count


def subjects(found: Iterable[ChangeEvent]) -> list[str]:
    """The subjects of cases, sorted: a topic has several partitions."""
    return sorted(event.fields["Subject"] for event in found)


async def failure(setup: Setup) -> str:
    """The error that capture reports for a channel that is held until a person changes something."""
    ((cell, reason),) = (await why_held(setup.config, ["capture"])).items()
    assert cell.startswith("capture/")
    return reason


class Garbage:
    """Replaces a schema of the double: its events are bytes that fit no schema."""

    def __init__(self, schema_id: str) -> None:
        self.schema_id = schema_id

    def encode(self, *_: object) -> bytes:
        return b"\xff\x00 no event " + self.schema_id.encode()
