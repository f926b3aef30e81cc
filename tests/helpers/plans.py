"""A stage without a worker: its plan, carried out for one record."""

import asyncio

from connector.kafka.cell_work import Plan
from connector.kafka.inbound import InRecord


async def carry_out(plan: Plan, record: InRecord) -> None:
    """All of the record's work, as a worker begins it; raises what fails first."""
    await asyncio.gather(*(work() for work in plan(record).values()))
