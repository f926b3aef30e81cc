"""trigger: salesforce.cdc.* and salesforce.events.* → pisano.invitations.

Each change event is shown to every survey. A survey decides from the event alone where it can, reads from Salesforce
what is missing, and writes an invitation whose id is a pure function of its cause: a repeat is the same record again.
"""

from collections.abc import Awaitable, Callable, Sequence

import structlog

from connector.errors import Rejected
from connector.kafka.cloud_events import OutRecord, to_record
from connector.kafka.stage_worker import InRecord
from connector.observe.metrics import Metrics
from connector.records import ChangeEvent, Invitation, read
from connector.surveys.invitations import SurveyRule

log = structlog.get_logger(__name__)

Publish = Callable[[OutRecord], Awaitable[None]]


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

    async def handle(self, record: InRecord) -> None:
        """One change event, from its record to its invitations. See `StageWorker` for what an error means.

        Raises:
            Rejected: A survey cannot decide about this event, or not render it; the other surveys' are written first.
        """
        event = read(ChangeEvent, record.value)
        if self._ours(event.change_origin):
            self._metrics.own_changes.labels(event.entity).inc()
            return
        if event.change_type.startswith("GAP_"):
            self._metrics.gap_events.labels(event.entity, event.change_type).inc()
            log.warning("gap_event", entity=event.entity, record_id=event.record_id, change_type=event.change_type)
        failures: list[tuple[str, Rejected]] = []
        for rule in self._rules:
            try:
                await self._invite(rule, event, record)
            except Rejected as error:
                failures.append((rule.name, error))
        if failures:
            raise Rejected("; ".join(f"survey {name}: {error}" for name, error in failures), code=failures[0][1].code)

    async def _invite(self, rule: SurveyRule, event: ChangeEvent, record: InRecord) -> None:
        invitation = await rule.invite(event)
        if invitation is not None:
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
