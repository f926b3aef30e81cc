"""Carries out the plans of trigger and write for kept records, without their service."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from connector.cells import Breaker
from connector.errors import ConnectorError, Fatal, Rejected, Retryable
from connector.kafka.cell_work import UNREADABLE, Plan
from connector.kafka.cloud_events import OutRecord
from connector.kafka.inbound import InRecord
from connector.kafka.kept import Place
from connector.operate.replay import COPY, Found, place_of
from connector.records import Invitation, Write, read

Publish = Callable[[OutRecord], Awaitable[object]]
PlanWith = Callable[[Publish], Plan]
WriteAll = Callable[[Sequence[OutRecord]], Awaitable[object]]
Letter = Callable[[InRecord, str, Exception, str], OutRecord]
Foresee = Callable[[Invitation, Place], Found]

_READ_WITHIN = 600.0  # seconds; a partition with millions of writes takes minutes

BESIDE = ""  # the topic of a dead letter that would be written beside a write


def invited(invitation: Invitation, place: Place) -> Found:
    """What trigger decided."""
    what = "invited" if invitation.suppressed is None else "not invited"
    return Found(place, what, invitation.suppressed and str(invitation.suppressed), invitation.id)


@dataclass
class TriggerAgain:
    """Decides change events anew. `plan_with(publish)` is the stage's plan, `tell` says what comes of an invitation.

    With `write` the invitations and dead letters are written; without it nothing is. `elsewhere(invitation)` is another
    account that has the invitation already: then it is left out.
    """

    plan_with: PlanWith
    letter: Letter
    tell: Foresee = invited
    write: WriteAll | None = None
    elsewhere: Callable[[Invitation], str | None] = lambda _: None
    breaker: Callable[[], Breaker] = Breaker
    _breakers: dict[str, Breaker] = field(default_factory=dict)

    async def work(self, lot: Sequence[InRecord]) -> list[Found]:
        """Decides a lot of change events together, so that they share calls to Salesforce.

        Raises:
            Fatal: A person must change something first, or too many of the last events were refused.
            ConnectorError: Salesforce or Kafka are away. What was not written is decided again by the next replay.
        """
        made = await asyncio.gather(*(self._decided(record) for record in lot))
        found: list[Found] = []
        records: list[OutRecord] = []
        for record, (published, cells, refused) in zip(lot, made, strict=True):
            place = place_of(record)
            for cell in set(cells) - refused.keys():
                self._breaker(cell).passed()
            for one in published:
                invitation = read(Invitation, one.value)
                if other := self.elsewhere(invitation):
                    found.append(Found(place, "left out: another account has it", other, invitation.id))
                else:
                    found.append(self.tell(invitation, place))
                    records.append(_marked(one, place))
            for cell, error in refused.items():
                if self.write is not None:
                    self._require_few(cell, error)
                    records.append(self.letter(record, error.code or "rejected", error, f"trigger/{cell}"))
                found.append(_dead(place, error, is_real=self.write is not None))
            if not published and not refused:
                found.append(Found(place, "no survey wants it"))
        if self.write is not None:
            await self.write(records)
        return found

    async def _decided(self, record: InRecord) -> tuple[list[OutRecord], Sequence[str], Mapping[str, Rejected]]:
        published: list[OutRecord] = []

        async def publish(one: OutRecord) -> None:
            published.append(one)

        cells, refused = await _carried_out(self.plan_with(publish), record)
        return published, cells, refused

    def _breaker(self, cell: str) -> Breaker:
        return self._breakers.setdefault(cell, self.breaker())

    def _require_few(self, cell: str, error: Rejected) -> None:
        if self._breaker(cell).refused():
            raise Fatal(
                f"too many of the last change events were refused, the last one for: {error}. Mend that, and replay"
                " again from the last place that the report names: no invitation is sent twice."
            )


class WriteDryRun:
    """What write would do with feedback. `plan` is the stage's plan, whose publications `published` collects."""

    def __init__(self, plan: Plan, published: list[OutRecord]) -> None:
        self._plan = plan
        self._published = published

    async def work(self, lot: Sequence[InRecord]) -> list[Found]:
        """One feedback after the other, because a write that is done is not done again. Raises as the stage does."""
        return [found for record in lot for found in await self._one(record)]

    async def _one(self, record: InRecord) -> list[Found]:
        self._published.clear()
        place = place_of(record)
        try:
            async with asyncio.timeout(_READ_WITHIN):  # the stage itself would wait for Kafka without an end
                rules, refused = await _carried_out(self._plan, record)
        except TimeoutError:
            raise Retryable(f"what is written already could not be read within {_READ_WITHIN:g} s") from None
        written = {one.rule: one for one in (read(Write, o.value) for o in self._published if o.topic != BESIDE)}
        found = [_dead(place, error, is_real=False) for error in refused.values()]
        for rule in rules:
            if (write := written.get(rule)) is not None:
                what = "would be written" if write.success else "would not be written: a newer answer is there"
                found.append(Found(place, what, rule, write.id))
            elif rule not in refused:
                found.append(Found(place, "is written already", rule))
        unfit = [one for one in self._published if one.topic == BESIDE]
        found += [Found(place, "would be a dead letter besides", "does_not_fit", is_dead=True) for _ in unfit]
        return found or [Found(place, "no rule applies")]


async def _carried_out(plan: Plan, record: InRecord) -> tuple[Sequence[str], Mapping[str, Rejected]]:
    """The cells of a record's work, and why those are refused that are. The rest is done, as the stage does it."""
    try:
        works = plan(record)
    except Rejected as error:
        return [UNREADABLE], {UNREADABLE: error}
    refused: dict[str, Rejected] = {}

    async def carry_out(cell: str) -> None:
        try:
            await works[cell]()
        except Rejected as error:
            refused[cell] = error
        except ConnectorError:
            raise
        except Exception as error:  # noqa: BLE001 - as in the service, the record is at fault and the next one is not
            refused[cell] = Rejected(f"{type(error).__name__}: {error}", code="unexpected_error")

    await asyncio.gather(*(carry_out(cell) for cell in works))
    return [*works], refused


def _marked(record: OutRecord, place: Place) -> OutRecord:
    headers = [*record.headers, (COPY, str(place).encode())]
    return OutRecord(record.topic, record.key, record.value, headers, record.partition)


def _dead(place: Place, error: Rejected, *, is_real: bool) -> Found:
    return Found(place, "dead letter" if is_real else "would be a dead letter", error.code or "rejected", is_dead=True)
