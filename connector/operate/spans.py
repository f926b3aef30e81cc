"""What operators write for a time or a place on a topic."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from connector.config.types import seconds
from connector.errors import Fatal
from connector.kafka.kept import Bound, Place

EARLIEST = "earliest"


def bound(option: str, text: str, topics: Sequence[str], now: datetime) -> Bound:
    """`earliest`, a time, a period up to now such as 7d, or [TOPIC/]PARTITION/OFFSET on one of the topics.

    Raises:
        Fatal: It is none of these. The message names the `option`.
    """
    if text == EARLIEST:
        return None
    return _place(option, text, topics) if "/" in text else moment(option, text, now)


def moment(option: str, text: str, now: datetime) -> datetime:
    """A time, or a period up to now. A time without a zone is in UTC. Raises Fatal for anything else."""
    found = read_time(text, now)
    if found is None:
        raise Fatal(
            f"{option}: {text!r} is neither {EARLIEST}, nor a period such as 7d or 90m, nor a time such as"
            " 2026-12-31T09:00+03:00, nor a place such as 0/1234"
        )
    return found


def read_time(text: str, now: datetime) -> datetime | None:
    """A time, or a period up to now; None for anything else. A time without a zone is in UTC."""
    try:
        return now - timedelta(seconds=float(str(seconds(text))))
    except (ValueError, OverflowError):
        pass
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _place(option: str, text: str, topics: Sequence[str]) -> Place:
    *names, partition, offset = text.split("/")
    if not (partition.isdecimal() and offset.isdecimal() and len(names) <= 1):
        raise Fatal(f"{option}: a place is [TOPIC/]PARTITION/OFFSET, such as 0/1234, and not {text}")
    if not names and len(topics) > 1:
        raise Fatal(f"{option}: {text} may be on any of {', '.join(topics)}; write TOPIC/{text}")
    [topic] = names or topics
    if topic not in topics:
        raise Fatal(f"{option}: this stage reads {', '.join(topics)}, and not {topic}")
    return Place(topic, int(partition), int(offset))
