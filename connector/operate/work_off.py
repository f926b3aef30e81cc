"""Works dead letters off: puts their records back, or discards them, each letter once.

The record that is put back and the note that it was are one Kafka transaction. All operators use the same
transactional id. So whoever begins later ends the earlier one's work, and then reads what was done until then.
"""

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Collection, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

from aiokafka import AIOKafkaProducer

from connector.config import Config, Kafka
from connector.errors import Fatal, Retryable
from connector.kafka.cloud_events import OutRecord
from connector.kafka.connection import close, transaction, transactional_producer
from connector.kafka.dead_letters import retried
from connector.kafka.errors import Fenced, may_not_write, missing_right, translated
from connector.kafka.kept import Progress
from connector.operate.actions import action_of, record_of
from connector.operate.letters import (
    LETTER_AT,
    Decisions,
    Letter,
    Wanted,
    decisions,
    letter_at,
    letters,
    said,
    target_of,
)
from connector.records import Outcome

NAME = "deadletters"  # the transactional id
AT_ONCE = 100  # letters of a transaction, which takes 32 ms whatever it holds
_BYTES_AT_ONCE = 4_000_000  # of a transaction: a letter may have 3 MB, and all of them are in memory

Decision = Literal["retry", "discard"]
How = Literal["done", "before", "not possible"]


@dataclass
class Tally:
    """What became of the letters, by stage and reason, with one example of each: its place, and why."""

    counts: Counter[tuple[How, str, str]] = field(default_factory=Counter)
    examples: dict[tuple[How, str, str], tuple[str, str]] = field(default_factory=dict)

    def add(self, letter: Letter, how: How, why: str) -> None:
        """Counts a letter."""
        kind = how, letter.stage, letter.reason
        self.counts[kind] += 1
        self.examples.setdefault(kind, (letter.place, why))

    @property
    def left(self) -> int:
        """How many letters were not worked off by this."""
        return sum(count for (how, *_), count in self.counts.items() if how != "done")

    def lines(self, decision: Decision) -> list[str]:
        """The counts in words."""
        words = {"done": {"retry": "retried", "discard": "discarded"}[decision], "before": "already worked off"}
        words["not possible"] = "not retried"
        return [
            f"{words[how]}: {count} of {stage} ({reason}), "
            + (place if count == 1 else f"the first is {place}")
            + (f": {why}" if why else "")
            for (how, stage, reason), count in self.counts.items()
            for place, why in [self.examples[how, stage, reason]]
        ]


async def work_off(
    config: Config,
    chosen: Sequence[str] | Wanted,
    decision: Decision,
    *,
    by: str,
    why: str,
    sure: bool,
    tally: Tally,
    progress: Progress = lambda *_: None,
) -> None:
    """Works off the letters at these places, or those that pass a filter. `tally` counts what is durable.

    Raises:
        Fatal: A place holds no letter, and nothing was done. Or the caller has chosen with a filter and is not `sure`.
            Or another operator began later.
        Retryable: Kafka is away.
    """
    if isinstance(chosen, Wanted):
        if not sure:
            await _ask(config, chosen, decision)
        wanted = letters(config, chosen, progress=progress)
    else:
        found = [await letter_at(config.kafka, place) for place in dict.fromkeys(chosen)]
        wanted = _each(sorted(found, key=lambda letter: (letter.record.partition, letter.record.offset)))
    async with aclosing(wanted), working_off(config.kafka) as (producer, known):
        await _WorkOff(config.kafka, producer, known).run(wanted, decision, by, why, tally)


async def _ask(config: Config, wanted: Wanted, decision: Decision) -> None:
    """Raises Fatal, with what would be done."""
    known, counts = await decisions(config.kafka), Counter[str]()
    async for letter in letters(config, wanted):
        if known.about(letter) is None:
            counts[f"of {letter.stage} ({letter.reason})"] += 1
    listed = ", ".join(f"{count} {what}" for what, count in counts.most_common()) or "no dead letter"
    raise Fatal(f"nothing was done. These pass the filters: {listed}. Add --yes to {decision} all of them")


async def _each(found: Sequence[Letter]) -> AsyncGenerator[Letter, None]:
    for letter in found:
        yield letter


@asynccontextmanager
async def working_off(kafka: Kafka) -> AsyncIterator[tuple[AIOKafkaProducer, Decisions]]:
    """Ends the work of every earlier operator. Gives the producer for `commit`, and what was decided until then."""
    producer = await transactional_producer(kafka, NAME)
    try:
        yield producer, await decisions(kafka)
    finally:
        await close(producer)


async def commit(producer: AIOKafkaProducer, records: Sequence[OutRecord]) -> None:
    """Writes all of the records, or none.

    Raises:
        Fatal: Another operator has begun since, or a right is missing.
        Retryable: Kafka is away.
    """
    try:
        await transaction(producer, records)
    except Fenced as error:
        raise Fatal(
            "another operator has begun to work off dead letters since. What you have done until then is done;"
            " run the command again for the rest"
        ) from error
    except Retryable as error:
        if not may_not_write(error):
            raise
        topics = " and ".join(sorted({f"Topic {record.topic}" for record in records}))
        raise missing_right("WRITE", topics, error.__cause__) from error


class _WorkOff:
    def __init__(self, kafka: Kafka, producer: AIOKafkaProducer, known: Decisions) -> None:
        self._kafka = kafka
        self._producer = producer
        self._known = known

    async def run(self, chosen: AsyncIterable[Letter], decision: Decision, by: str, why: str, tally: Tally) -> None:
        places = await self._places()
        batch, size = list[Letter](), 0
        async for letter in chosen:
            if earlier := self._known.about(letter):
                tally.add(letter, "before", said(earlier))
            elif decision == "retry" and (reason := obstacle(letter) or _nowhere(letter, places)):
                tally.add(letter, "not possible", reason)
            else:
                batch.append(letter)
                size += len(letter.record.value or b"")
            if len(batch) == AT_ONCE or size >= _BYTES_AT_ONCE:
                await self._write(batch, decision, by, why, tally)
                batch, size = [], 0
        await self._write(batch, decision, by, why, tally)

    async def _write(self, batch: Sequence[Letter], decision: Decision, by: str, why: str, tally: Tally) -> None:
        if not batch:
            return
        records = list[OutRecord]()
        for letter in batch:
            params = {LETTER_AT: letter.at.isoformat()}
            action = action_of("dead_letter", target_of(letter), decision, by=by, reason=why, params=params)
            records += [retried(letter.record)] if decision == "retry" else []
            records.append(record_of(self._kafka, action))
        await commit(self._producer, records)
        for letter in batch:
            tally.add(letter, "done", "")

    async def _places(self) -> Collection[str]:
        """The partitions of all topics, as `TOPIC/PARTITION`."""
        with translated():
            known = await self._producer.client.fetch_all_metadata()
        return {f"{topic}/{number}" for topic in known.topics() for number in known.partitions_for_topic(topic) or ()}


def obstacle(letter: Letter) -> str | None:
    """Why a retry would do nothing, and what to do instead; None if there is no such reason."""
    id_ = (letter.invitation or "").rpartition("/")[2]
    match letter.stage, letter.reason:
        case "send", Outcome.UNKNOWN:
            return (
                "the outcome of its invitation is unknown, so that send would not send it again. Find out from Pisano"
                f" whether it was sent, then: connector invitations settle {id_} sent|resend|drop --reason TEXT"
            )
        case "send", Outcome.REJECTED:
            return (
                f"Pisano has refused its invitation {id_}. That is its outcome in the ledger, so that send would not"
                " send it again. Discard the letter"
            )
    if letter.has_topic:
        return None
    if letter.stage == "receive":
        return (
            f"it is a webhook's body, not a record of a topic. `connector deadletters show {letter.place} --value`"
            " gives the body; docs/deadletters.md says how to send it to the webhook again"
        )
    return "it is an event as Salesforce sent it, not a record of a topic. docs/deadletters.md says what to do"


def _nowhere(letter: Letter, places: Collection[str]) -> str | None:
    place = letter.origin.rpartition("/")[0]
    return None if place in places else f"there is no partition {place}, or you may not see it"
