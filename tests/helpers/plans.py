"""A stage without a worker: carries out its plan for one record."""

import asyncio

from connector.kafka.cell_work import Plan
from connector.kafka.inbound import InRecord


async def carry_out(plan: Plan, record: InRecord) -> None:
    """Does all of the record's work in a worker's order; raises the first failure."""
    await asyncio.gather(*(work() for work in plan(record).values()))
