"""A record that lies on another topic for a while: its headers keep where it came from."""

from aiokafka import ConsumerRecord

from connector.kafka.inbound import InRecord

_PREFIX = "pk_"  # of our own headers


def carried(record: InRecord) -> list[tuple[str, bytes]]:
    """The record's headers, and ours that keep its place, its key and its time."""
    ours = {
        "topic": record.topic,
        "partition": str(record.partition),
        "offset": str(record.offset),
        "timestamp": repr(record.timestamp),
        **({"key": record.key.hex()} if record.key is not None else {}),
    }
    return [*record.headers, *((_PREFIX + name, text.encode()) for name, text in ours.items())]


def as_it_was(record: ConsumerRecord | InRecord) -> InRecord:
    """The record as it lay on its own topic."""
    headers = dict(record.headers)
    key = headers.get("pk_key")
    return InRecord(
        topic=headers["pk_topic"].decode(),
        partition=int(headers["pk_partition"]),
        offset=int(headers["pk_offset"]),
        key=None if key is None else bytes.fromhex(key.decode()),
        value=record.value,
        headers=tuple((name, value) for name, value in record.headers if not name.startswith(_PREFIX)),
        timestamp=float(headers["pk_timestamp"]),
    )
