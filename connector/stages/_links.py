"""Makes the record of a link to a survey, which `write` stores in Salesforce as it stores an answer."""

from datetime import datetime

from connector.kafka.cloud_events import OutRecord, to_record
from connector.records import Feedback, digest
from connector.stages._batches import Entry


def link_record(topic: str, entry: Entry, link: str, at: datetime) -> OutRecord:
    """The record for `topic`, which is `pisano.feedback` in full.

    Its id depends only on the invitation, so that it is written once.
    """
    invitation = entry.invitation
    feedback = Feedback(
        id=digest("link", invitation.id),
        kind="link",
        account=invitation.account,
        received_at=at,
        body={
            **invitation.built_in_responses,
            "link": link,
            "survey": invitation.survey,
            "entity": invitation.entity,
            "record_id": invitation.record_id,
        },
    )
    return to_record(
        topic,
        invitation.record_id,
        feedback,
        ce_type="pisano.link",
        ce_source=f"/accounts/{invitation.account}",
        ce_id=feedback.id,
        ce_time=at,
        parent=entry.record.headers,
    )
