"""Tasks of a partition: a partition may be taken away before its tasks have begun."""

import asyncio
import gc
import warnings

from faust.types import TP

from connector.kafka.partition_tasks import PartitionTasks

HERE = TP("pisano.invitations", 0)


async def test_a_task_that_is_cancelled_before_it_began_leaves_no_warning() -> None:
    begun: list[str] = []

    async def work() -> None:
        begun.append("work")

    tasks = PartitionTasks(lambda error: begun.append(repr(error)))
    tasks.spawn(HERE, work(), in_background=True)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        await tasks.cancel([HERE])
        gc.collect()
    assert (begun, [str(warning.message) for warning in said]) == ([], [])


async def test_an_error_of_a_task_is_reported() -> None:
    failed: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()

    async def work() -> None:
        raise ValueError("no")

    PartitionTasks(failed.set_result).spawn(HERE, work())
    assert repr(await asyncio.wait_for(failed, 5)) == "ValueError('no')"
