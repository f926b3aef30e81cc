"""Workers of the write stage, in simulated time, for tests/unit/test_write_simulated.py.

Three rules write to three objects, and each object to three records. Salesforce and the topics are in memory.
`WriteBack`, `CollectionWriter`, `Awake` and all of the worker are the real ones.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from connector.config import FeedbackRule
from connector.errors import Fatal, Rejected, Retryable
from connector.kafka.awake import Awake
from connector.kafka.cell_work import Plan
from connector.kafka.cloud_events import OutRecord
from connector.kafka.inbound import InRecord
from connector.kafka.stage_worker import Settle
from connector.observe.metrics import Metrics
from connector.records import Feedback, Write, digest, read
from connector.salesforce import CollectionWriter
from connector.salesforce._refusals import Failing, FieldsRefused
from connector.salesforce.rest import Result
from connector.stages.write import WriteBack
from helpers.processes import outside
from helpers.simulated_cells import CELLS, HEALTHY, Scenario, World
from helpers.simulated_workers import clock

_FIELDS = {"Score__c": "{{ body.number }}", "Comment__c": "text"}
_RULES = {
    cell: FeedbackRule.model_validate(
        {"update": f"Object_{cell}", "by": {"Id": "{{ body.record }}"}, "fields": _FIELDS},
    )
    for cell in CELLS
}


class WriteWorld(World):
    """`stored` is what each record of a cell's object holds; `done` what was stored, in order.

    `aside` are the numbers of a cell whose comment was left out because Salesforce refused it. In every second scenario
    the bodies name the times of their answers, which come in any order; `superseded` are the numbers of a cell that an
    answer with a later time kept from being written.
    """

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(scenario)
        self.stored: defaultdict[str, dict[str, int]] = defaultdict(dict)
        self.writes: list[Write] = []
        self.aside: defaultdict[str, set[int]] = defaultdict(set)
        self.superseded: defaultdict[str, set[int]] = defaultdict(set)

    def stage(self) -> tuple[Plan, Settle]:
        awake = Awake(clock=clock)
        self._awake = asyncio.get_running_loop().create_task(awake.run())
        stage = WriteBack(
            _RULES,
            CollectionWriter(self, sure=awake.sure, clock=clock),
            self.publish,
            "salesforce.writes",
            read_writes=self.read_writes,
            kept=timedelta(days=30),
            set_aside=self.set_aside,
            metrics=Metrics(),
        )
        return stage.plan, stage.forget

    def value(self, number: int) -> bytes:
        body = {"number": number, "record": f"record-{number % 3}"}
        at = datetime(2026, 1, 1, tzinfo=UTC)
        feedback = Feedback(
            id=digest("made up", str(number)),
            account="main",
            received_at=at,
            answered_at=at + timedelta(hours=self.rank(number)) if self.scenario.seed % 2 else None,
            body=body,
        )
        return feedback.model_dump_json().encode()

    def rank(self, number: int) -> float:
        """The place of an answer among those of its record: a later one must stay."""
        return number + 8 * Random(f"{self.scenario.seed} {number}").random() if self.scenario.seed % 2 else number

    def number(self, record: InRecord) -> int:
        return int(read(Feedback, record.value).body["number"])

    async def read_writes(self, _: int) -> AsyncIterator[Write]:
        await asyncio.sleep(self.random.uniform(0, 0.5))
        for write in list(self.writes):
            yield write

    async def publish(self, record: OutRecord) -> None:
        if record.topic == "salesforce.writes":
            await outside(self._publish, read(Write, record.value))

    async def _publish(self, write: Write) -> None:
        await asyncio.sleep(self.random.uniform(0, 0.1))
        self.writes.append(write)
        if (write.error or "").startswith("superseded"):
            cell, number = write.object[-1], int(str(write.fields["Score__c"]))
            assert any(self.rank(n) > self.rank(number) for n in self.done[cell] if n % 3 == number % 3)
            self.superseded[cell].add(number)

    def all_done(self) -> bool:
        wanted = {*range(len(self.written_at))}
        return all({*self.done[cell]} | self.letters[cell] | self.superseded[cell] >= wanted for cell in CELLS)

    async def upsert(self, *_: object) -> list[Result]:
        raise AssertionError("no rule upserts")

    def set_aside(self, record: InRecord, _: str, error: Exception, *_more: object) -> OutRecord:
        cell = str(error).removeprefix("rule ")[:1]
        self.aside[cell].add(self.number(record))
        return OutRecord("connector.deadletters", record.key, record.value, [])

    async def limits(self) -> object:
        return await outside(asyncio.sleep, 0.1)

    async def describe(self, object_name: str) -> dict[str, Any]:
        return await outside(self._describe, object_name[-1])

    async def _describe(self, cell: str) -> dict[str, Any]:
        await asyncio.sleep(self.random.uniform(0, 0.1))
        trouble = self.troubles.get(cell)
        if isinstance(trouble, Retryable):
            raise trouble
        return {"fields": [{"name": "Score__c", "type": "double", "precision": 18, "scale": 0}]}

    async def update(self, object_name: str, records: Sequence[dict[str, Any]], _: object) -> list[Result]:
        return await outside(self._update, object_name[-1], records)

    async def _update(self, cell: str, records: Sequence[dict[str, Any]]) -> list[Result]:
        await asyncio.sleep(self.random.uniform(0, 0.1))
        trouble = self.troubles.get(cell)
        if isinstance(trouble, Fatal):
            return [Result(False, error=trouble) for _ in records]
        if trouble:
            raise trouble
        if any(self.kind(cell, int(each["Score__c"])) == "always a 500" for each in records):
            raise Failing("HTTP 500")
        return [self._store(cell, each, int(each["Score__c"])) for each in records]

    def _store(self, cell: str, fields: dict[str, Any], number: int) -> Result:
        record = fields["Id"]
        if self.kind(cell, number) == "refused":
            return Result(False, error=Rejected("refused"))
        if self.kind(cell, number) == "does not fit" and "Comment__c" in fields:
            return Result(False, error=FieldsRefused("too long", "STRING_TOO_LONG", {"Comment__c": "STRING_TOO_LONG"}))
        self.stored[cell][record] = number
        self.take_note(cell, number)
        return Result(True, id=record)

    def kind(self, cell: str, number: int) -> str:
        """What Salesforce makes of this write: most are fine."""
        drawn = Random(f"{self.scenario.seed} {cell} {number}").random()
        if cell == HEALTHY or drawn >= 2 * self.scenario.bad:
            return "fine"
        if drawn >= self.scenario.bad:
            return "does not fit"
        return "refused" if number % 2 else "always a 500"
