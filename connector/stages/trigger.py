"""trigger: salesforce.cdc.* and salesforce.events.* → pisano.invitations.

Every survey sees each change event. A survey decides from the event alone where it can, reads what is missing from
Salesforce, and writes an invitation. The invitation's id is a pure function of its cause, so a repeat is the same
record again. Each survey is a cell: a survey that cannot go on holds back only its own work.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import structlog

from connector.errors import Fatal, Rejected
from connector.kafka.cell_work import Work
from connector.kafka.cloud_events import OutRecord, to_record
from connector.kafka.dead_letters import retried_cell
from connector.kafka.inbound import InRecord
from connector.observe.metrics import Metrics
from connector.records import ChangeEvent, Invitation, read
from connector.surveys.invitations import SurveyRule

log = structlog.get_logger(__name__)

Publish = Callable[[OutRecord], Awaitable[object]]


class Trigger:
    """The stage. `ours(change_origin)` tells whether a change was made by this connector, which must not invite."""

    def __init__(
        self,
        rules: Sequence[SurveyRule],
        publish: Publish,
        topic: str,
        *,
        ours: Callable[[str], bool],
        metrics: Metrics,
    ) -> None:
        self._rules = rules
        self._publish = publish
        self._topic = topic
        self._ours = ours
        self._metrics = metrics

    def plan(self, record: InRecord) -> dict[str, Work]:
        """The work that a change event makes for each survey that may want it. See `CellWork`.

        A dead letter that was put back is work for its own survey: the others have decided about the change. All see it
        if the configuration does not have that survey any more.

        Raises:
            Rejected: The record is not a change event.
        """
        event = read(ChangeEvent, record.value)
        if self._ours(event.change_origin):
            self._metrics.own_changes.labels(event.entity).inc()
            return {}
        if event.change_type.startswith("GAP_"):
            self._metrics.gap_events.labels(event.entity, event.change_type).inc()
            log.warning("gap_event", entity=event.entity, record_id=event.record_id, change_type=event.change_type)
        cell = retried_cell(record)
        rules = [rule for rule in self._rules if cell == f"trigger/{rule.name}"] or self._rules
        return {rule.name: partial(self._invite, rule, event, record) for rule in rules if rule.may_want(event)}

    async def _invite(self, rule: SurveyRule, event: ChangeEvent, record: InRecord) -> None:
        try:
            invitations = await rule.invitations(event)
        except Rejected as error:
            raise Rejected(f"survey {rule.name}: {error}", code=error.code) from error
        except Fatal as error:
            raise Fatal(f"survey {rule.name}: {error}", whole=error.whole) from error
        for invitation in invitations:
            await self._publish(self._to_record(invitation, record))
            self._metrics.invitations.labels(invitation.survey, invitation.suppressed or "").inc()

    def _to_record(self, invitation: Invitation, cause: InRecord) -> OutRecord:
        return to_record(
            self._topic,
            invitation.account,
            invitation,
            ce_type="pisano.invitation",
            ce_source=f"/surveys/{invitation.survey}",
            ce_id=invitation.id,
            ce_time=invitation.created_at,
            parent=cause.headers,
        )
