"""Builds send from the configuration."""

import asyncio
from functools import partial

from faust.types import TP

from connector.errors import ConnectorError
from connector.kafka.ledger import Ledger
from connector.kafka.parking import partition_count
from connector.kafka.shared_work import partition_of
from connector.kafka.stage_worker import StageWorker
from connector.records import Outcome
from connector.retry import until_done
from connector.stages._unknown_accounts import hold_unknown_accounts
from connector.stages._waits import Again
from connector.stages.send import Send
from connector.surveys.lookup import Lookup
from connector.surveys.reader import Reader
from connector.surveys.recheck import Recheck
from connector.wiring.shared import Shared

_IN_FLIGHT = 200  # invitations of a survey in memory: what two full calls of an account carry; the others are parked


def build(shared: Shared) -> StageWorker:
    """The worker that reads the invitations."""
    topic = shared.topic("pisano.invitations")

    async def accounts_of(partition: int) -> list[str]:
        count = await until_done(partial(partition_count, shared.config.kafka, topic))
        return [name for name in shared.config.pisano if partition_of(name, count) == partition]

    async def beside(partition: TP, again: Again) -> None:
        known = shared.config.pisano.keys()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(send.beside(partition, again))
                tasks.create_task(hold_unknown_accounts(shared.config.kafka, partition.partition, known, shared.cells))
                tasks.create_task(shared.persons.ended())
        except* ConnectorError as errors:
            raise errors.exceptions[0] from None

    for name, survey in shared.config.surveys.items():
        shared.metrics.outcomes.labels(survey.account, name, Outcome.SENT, "")  # Prometheus wants a zero first
        shared.metrics.change_to_call.labels(name)
    send = Send(
        shared.config.pisano,
        partial(Ledger.open, shared.config.kafka),
        shared.http,
        grace=shared.config.service.drain,
        dead_letter=shared.letters("send").of_record,
        metrics=shared.metrics,
        cells=shared.cells,
        breaker=shared.config.service.breaker.make,
        protection=shared.persons.protection,
        accounts_of=accounts_of,
        recheck=_recheck(shared),
        caught_up=shared.persons.caught_up,
        claims_to=shared.persons.claims_to,
    )
    return shared.worker(
        "send",
        [topic],
        send.plan,
        in_flight=_IN_FLIGHT,
        settle=send.settle,
        drains=False,
        keeps_order=False,
        beside=beside,
    )


def _recheck(shared: Shared) -> Recheck:
    reader = Reader(Lookup(shared.rest.find), Lookup(shared.rest.find_deleted))
    phones = {name: account.phones for name, account in shared.config.pisano.items()}
    return Recheck(shared.config.surveys, reader, phones)
