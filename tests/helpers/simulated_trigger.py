"""Workers of the trigger stage, in simulated time, for tests/unit/test_trigger_simulated.py.

Surveys a and c read the same object, so they share calls, and a reads a field that can be hidden. Survey b reads an
object of its own, which can be away. Salesforce and the topics are in memory. `Trigger`, `SurveyRule`, `Lookup` and all
of the worker are the real ones.
"""

import asyncio
from collections.abc import Iterable
from typing import Any

from connector.config import Survey
from connector.errors import Fatal
from connector.kafka.cell_work import Plan
from connector.kafka.cloud_events import OutRecord
from connector.kafka.inbound import InRecord
from connector.kafka.stage_worker import Settle, nothing
from connector.observe.metrics import Metrics
from connector.records import ChangeEvent, Invitation, read
from connector.salesforce.soql import Source, Value
from connector.stages.trigger import Trigger
from connector.surveys.invitations import SurveyRule
from connector.surveys.lookup import Lookup
from connector.surveys.reader import Reader
from helpers.change_events import change
from helpers.processes import outside
from helpers.simulated_cells import World

_READS = {"a": ("Contact", ["Email", "A__c"]), "b": ("User", ["Email"]), "c": ("Contact", ["Email"])}


def _survey(cell: str) -> Survey:
    object_name, fields = _READS[cell]
    return Survey.model_validate(
        {
            "on": "Case",
            "account": "main",
            "campaign": "4711",
            "lookup": {"who": {"object": object_name, "id": "{{ record.Who }}", "fields": fields}},
            "email": "{{ who.Email }}",
            "custom_attributes": {"name": "{{ who.A__c }}"} if "A__c" in fields else {},
        }
    )


_SURVEYS = {cell: _survey(cell) for cell in _READS}


class TriggerWorld(World):
    """`done` holds the change events for which an invitation of each survey was written."""

    def stage(self) -> tuple[Plan, Settle]:
        reader = Reader(Lookup(self.find), Lookup(self.find))
        rules = [SurveyRule(cell, survey, reader) for cell, survey in _SURVEYS.items()]
        trigger = Trigger(rules, self.publish, "pisano.invitations", ours=lambda _: False, metrics=Metrics())
        return trigger.plan, nothing

    def value(self, number: int) -> bytes:
        event = change(f"500{number:015d}", {"Who": f"003{number % 5:012d}"}, transaction_key=str(number))
        return event.model_dump_json().encode()

    def number(self, record: InRecord) -> int:
        return int(read(ChangeEvent, record.value).record_id[3:])

    async def find(self, source: Source, fields: Iterable[str], values: list[Value]) -> list[dict[str, Any]]:
        return await outside(self._find, source.object, set(fields), values)

    async def _find(self, object_name: str, fields: set[str], ids: list[Value]) -> list[dict[str, Any]]:
        await asyncio.sleep(self.random.uniform(0, 0.1))
        if object_name == "Contact" and "A__c" in fields and "a" in self.troubles:
            raise Fatal("No such column A__c")
        if object_name == "User" and (trouble := self.troubles.get("b")):
            raise trouble
        return [{**dict.fromkeys(fields, "x"), "Id": each, "Email": "ada@example.com"} for each in ids]

    async def publish(self, record: OutRecord) -> None:
        await outside(self._publish, read(Invitation, record.value))

    async def _publish(self, invitation: Invitation) -> None:
        await asyncio.sleep(self.random.uniform(0, 0.1))
        self.take_note(invitation.survey, int(invitation.record_id[3:]))
