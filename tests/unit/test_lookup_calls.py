"""Reads from Salesforce share calls: one that is alone waits for nothing, and under load a call gathers many."""

import asyncio
from collections.abc import Iterable
from typing import Any

from connector.salesforce.soql import Source, Value
from connector.surveys.lookup import Lookup

CONTACT = Source("Contact", "Name")


class Org:
    """A call takes until `answers` has a place. `calls` holds the values of each, `pauses` the wait before it."""

    def __init__(self) -> None:
        self.calls: list[list[Value]] = []
        self.pauses: list[float] = []
        self.answers = asyncio.Semaphore(0)
        self.lookup = Lookup(self.find, sleep=self.sleep)

    async def find(self, _: Source, fields: Iterable[str], values: list[Value]) -> list[dict[str, Any]]:
        self.calls.append(values)
        await self.answers.acquire()
        return [dict.fromkeys(fields, value) for value in values]

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0)

    def read(self, *names: str) -> list[asyncio.Task[Any]]:
        return [asyncio.create_task(self.lookup.read(CONTACT, name, ["Name"])) for name in names]

    async def has_calls(self, count: int) -> None:
        while len(self.calls) < count:  # noqa: ASYNC110 - the calls come without any waiting
            await asyncio.sleep(0)


async def test_a_call_waits_for_more_reads_only_after_one_that_was_shared() -> None:
    org = Org()
    reads = []
    for number, names in enumerate(["a", "bc", "de"], start=1):  # each while the call before is under way
        reads += org.read(*names)
        await asyncio.sleep(0)
        if number > 1:
            org.answers.release()
        await org.has_calls(number)
    org.answers.release()
    assert [row["Name"] for row in await asyncio.gather(*reads)] == ["a", "b", "c", "d", "e"]
    assert org.calls == [["a"], ["b", "c"], ["d", "e"]]
    assert org.pauses == [0, 0, 0.01]
