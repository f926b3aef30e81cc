"""Gives up on records that are parked for a held cell: each becomes a dead letter, once.

The dead letter and the decision are one transaction, as for a retry of a dead letter. The owner of the record learns
the decision and does nothing more about it.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import aclosing
from typing import NamedTuple

from connector.config import Config
from connector.errors import Fatal, Rejected
from connector.kafka.carried import as_it_was
from connector.kafka.cloud_events import OutRecord
from connector.kafka.dead_letters import DeadLetters
from connector.kafka.inbound import InRecord
from connector.kafka.kept import Progress, kept
from connector.kafka.parking import PARKED
from connector.kafka.skipped import source_of, target_of
from connector.operate.actions import action_of, record_of
from connector.operate.held import is_parked_for, parked_for, require_cell
from connector.operate.letters import Decisions, decisions
from connector.operate.work_off import AT_ONCE, commit, working_off

REASON = "skipped"  # of the dead letters
_EXAMPLES = 10  # places in a message


class Parked(NamedTuple):
    """A parked record's place on `connector.parked`."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}/{self.offset}"


async def skip(
    config: Config,
    cell: str,
    places: Sequence[str],
    *,
    sure: bool,
    by: str,
    reason: str,
    progress: Progress = lambda *_: None,
) -> int:
    """Gives up on the records at these places; without any, on all that are parked for the cell and the cells in it.

    Returns how many became dead letters.

    Raises:
        Fatal: There is no such cell, or a place has no record that is parked for it. Or there are no `places` and the
            caller is not `sure`. Or another operator began later.
        Retryable: Kafka is away.
    """
    await require_cell(config, cell)
    wanted = {_place(text) for text in places}
    if not wanted and not sure:
        open_ = _open(await parked(config, cell, progress), await decisions(config.kafka))
        raise Fatal(f"nothing was done. {_counted(open_)} for {cell}. Name places, or add --yes to skip all of them")
    async with working_off(config.kafka) as (producer, known):
        open_ = _open(await parked(config, cell, progress), known)
        if missing := sorted(wanted.difference(open_)):
            where = ", ".join(map(str, missing))
            raise Fatal(f"nothing was done: no record is parked at {where} for {cell}, or it is worked off already")
        chosen = wanted or {*open_}
        async for batch in _batches(config, chosen):
            await commit(producer, [each for one in batch for each in _given_up(config, one, by, reason)])
        return len(chosen)


def _open(places: Mapping[Parked, str], known: Decisions) -> list[Parked]:
    """Those about which nobody has decided. Another record lies there when the topic is made anew."""
    decided = {place: one.params.get("source") for place in places if (one := known.of(target_of(*place)))}
    return [place for place, source in places.items() if decided.get(place) != source]


async def parked(config: Config, cell: str, progress: Progress = lambda *_: None) -> dict[Parked, str]:
    """The records that wait for a cell, or for one in it, as far as their owners have written down. In order.

    With each comes where it was before.
    """
    lots: defaultdict[tuple[int, bytes | None], dict[int, str]] = defaultdict(dict)
    async with aclosing(kept(config.kafka, [config.kafka.topic_prefix + PARKED], progress=progress)) as records:
        async for record in records:
            headers, lot = dict(record.headers), (record.partition, record.key)
            if "pk_done" in headers:
                done = int(headers["pk_done"])
                lots[lot] = {offset: source for offset, source in lots[lot].items() if offset >= done}
            elif is_parked_for(cell, record):
                lots[lot][record.offset] = source_of(as_it_was(record))
    found = ((Parked(partition, offset), its[offset]) for (partition, _), its in lots.items() for offset in its)
    return dict(sorted(found))


async def _batches(config: Config, places: Collection[Parked]) -> AsyncIterator[list[InRecord]]:
    """The records at these places, some at once. One that Kafka has deleted meanwhile is missing."""
    topic, batch = config.kafka.topic_prefix + PARKED, list[InRecord]()
    within = {}
    for partition in {place.partition for place in places}:
        offsets = [place.offset for place in places if place.partition == partition]
        within[topic, partition] = min(offsets), max(offsets) + 1
    async with aclosing(kept(config.kafka, [topic], within=within)) as records:
        async for record in records:
            if Parked(record.partition, record.offset) in places:
                batch.append(record)
            if len(batch) == AT_ONCE:
                yield batch
                batch = []
    if batch:
        yield batch


def _given_up(config: Config, record: InRecord, by: str, reason: str) -> list[OutRecord]:
    """The dead letter and the decision."""
    stage, _, cell = parked_for(record).partition("/")
    error = Rejected(f"an operator has given it up: {by}: {reason}")
    make = DeadLetters(config.kafka, stage, lambda *_: None).of_record
    parked = as_it_was(record)
    letter = make(parked, REASON, error, f"{stage}/{cell}")
    target = target_of(record.partition, record.offset)
    params = {"cell": f"{stage}/{cell}", "source": source_of(parked)}
    action = action_of("skip", target, "dead_letter", by=by, reason=reason, params=params)
    return [letter, record_of(config.kafka, action)]


def _place(text: str) -> Parked:
    partition, _, offset = text.partition("/")
    if not (partition.isdecimal() and offset.isdecimal()):
        raise Fatal(f"a parked record is named by PARTITION/OFFSET on {PARKED}, such as 0/1234, and not {text!r}")
    return Parked(int(partition), int(offset))


def _counted(places: Sequence[Parked]) -> str:
    if not places:
        return "No record is parked"
    examples = ", ".join(map(str, places[:_EXAMPLES]))
    more = f" and {len(places) - _EXAMPLES} more" if len(places) > _EXAMPLES else ""
    return f"{len(places)} records are parked ({examples}{more})"
