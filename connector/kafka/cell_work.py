"""Carries out the work of a stage's records, each in its cell, and decides what a failure holds back (rules 2 to 4)."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from functools import partial

import structlog

from connector.cells import Breaker, Cell, Cells, next_ticket
from connector.errors import ConnectorError, Fatal, Rejected, Retryable
from connector.kafka.inbound import InRecord
from connector.observe.tracing import tracing
from connector.retry import PATIENCE, Lasts, patiently

log = structlog.get_logger(__name__)

Work = Callable[[], Awaitable[None]]
Plan = Callable[[InRecord], Mapping[str, Work]]
Handle = Callable[[InRecord], Awaitable[None]]
DeadLetter = Callable[[InRecord, str, Exception, str], Awaitable[None]]

UNREADABLE = "unreadable"  # the cell of records that cannot be read, so that their real cell is unknown


class CellWork:
    """The work of the stage `name`. `plan(record)` gives the record's pieces of work by the cell that each belongs to.

    The error that a piece of work raises decides what happens (rule 3). After Retryable the work is repeated; if the
    error lasts, it holds the cell. Fatal holds the cell, or its parent if the error is `whole`. After Rejected or any
    unexpected error the record goes to `dead_letter(record, reason, error, cell)`; too many of those hold the cell
    instead. If the stage `keeps_order`, a held cell is probed with its oldest work. Otherwise each probe uses another
    piece of work, so that a faulty one does not hold the others for good. `configured` names the cells that the
    configuration has, whether or not a record has work for them.
    """

    def __init__(
        self,
        name: str,
        plan: Plan,
        dead_letter: DeadLetter,
        cells: Cells,
        *,
        keeps_order: bool = True,
        configured: Collection[str] = (),
        breaker: Callable[[], Breaker] = Breaker,
        patience: float = PATIENCE,
    ) -> None:
        self._name = name
        self._plan = plan
        self._dead_letter = dead_letter
        self._cells = cells
        self._keeps_order = keeps_order
        self._configured = configured
        self._new_breaker = breaker
        self._patience = patience
        self._breakers: dict[str, Breaker] = {}

    def cell(self, name: str) -> Cell:
        """The cell `name` of this stage."""
        return self._cells.at(f"{self._name}/{name}")

    def parts(self, record: InRecord) -> Mapping[str, Work]:
        """The record's pieces of work by cell. If the record cannot be read, there is one piece, and it fails."""
        try:
            return self._plan(record)
        except Exception as error:  # noqa: BLE001 - raised again by the work
            return {UNREADABLE: _failing(error)}

    def part(self, record: InRecord, cell: str) -> Work:
        """The work of one cell, for a record that was parked for it. The configuration may have changed since.

        If the cell does not want the record any more, there is nothing to do. If the cell is gone, the work fails. What
        could not be read and can be now has the work of all its cells.
        """
        parts = self.parts(record)
        if cell == UNREADABLE and cell not in parts:
            return partial(_each, parts.values())
        if found := parts.get(cell) or parts.get(UNREADABLE):
            return found
        if cell in self._configured:
            return _nothing
        return _failing(Rejected(f"the configuration no longer has {cell} for {self._name}", code="not_configured"))

    async def finish(
        self, record: InRecord, cell: str, work: Work, given_up: Callable[[], bool] = lambda: False
    ) -> None:
        """Returns when the work is done or the record is a dead letter, however long the cell is held before.

        It also returns when an operator has given the record up. It asks `given_up()` before each try.
        """
        done, ticket = False, next_ticket()
        while not (done or given_up()):
            async with self.cell(cell).turn(ticket if self._keeps_order else next_ticket()):
                done = given_up() or await self._try(record, cell, work)

    async def tried(self, record: InRecord, cell: str, work: Work) -> bool:
        """Tries once. False when the work is not done: the cell was held already, or this try made it held."""
        return self.cell(cell).holder is None and await self._try(record, cell, work)

    async def _try(self, record: InRecord, name: str, work: Work) -> bool:
        cell, place = self.cell(name), (record.topic, record.partition, record.offset)
        try:
            try:
                with tracing.processed(cell.name, place, record.headers):
                    await patiently(work, 0.0 if cell.holder else self._patience)
            except Rejected as error:
                return await self._refused(record, name, error.code or "rejected", error)
            except ConnectorError:
                raise
            except Exception as error:
                log.exception("record_failed_unexpectedly", stage=self._name, cell=name, **_where(record))
                return await self._refused(record, name, "unexpected_error", error)
        except Lasts as error:
            cell.hold(error, "outage", at_least=error.at_least)
            return False
        except Fatal as error:
            holder = cell.parent if error.whole and cell.parent else cell
            holder.hold(error, "configuration")
            return False
        self._breaker(name).passed()
        self._works(name)
        return True

    async def _refused(self, record: InRecord, name: str, reason: str, error: Exception) -> bool:
        """Writes a dead letter. After too many it holds the cell instead; then each probe costs one dead letter."""
        cell = self.cell(name)
        if self._breaker(name).refused():
            is_probe = cell.reason is not None
            cell.hold(Fatal(f"too many of its last records were refused, the last one for: {error}"), "dead_letters")
            if not is_probe:
                return False
        else:
            self._works(name)  # the answer is about this record only: nothing else is wrong
        await patiently(lambda: self._dead_letter(record, reason, error, cell.name), self._patience)
        return True

    def _works(self, name: str) -> None:
        cell = self.cell(name)
        if cell.reason is not None and cell.kind == "dead_letters":
            self._breakers.pop(name, None)
        cell.works()

    def _breaker(self, name: str) -> Breaker:
        if name not in self._breakers:
            self._breakers[name] = self._new_breaker()
        return self._breakers[name]


def alone(handle: Handle) -> Plan:
    """The plan of a stage with one cell."""
    return lambda record: {"all": lambda: handle(record)}


async def _nothing() -> None:
    pass


async def _each(works: Iterable[Work]) -> None:
    """Does all of them, whatever becomes of one. Then it raises what may work later, or else why one never will."""
    failed: list[Exception] = []
    for work in works:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - raised below
            failed.append(error)
    if failed:
        raise next((error for error in failed if isinstance(error, Retryable | Fatal)), failed[0])


def _failing(error: Exception) -> Work:
    async def fail() -> None:
        raise error

    return fail


def _where(record: InRecord) -> dict[str, object]:
    return {"topic": record.topic, "partition": record.partition, "offset": record.offset}
