"""The reason codes of invitations: why one is not sent, or why it waits. docs/invitations.md explains each."""

from enum import StrEnum


class Reason(StrEnum):
    """Why an invitation is not sent, or waits."""

    # decided with the change
    NO_ADDRESS = "no_address"
    INVALID_ADDRESS = "invalid_address"
    OPTED_OUT = "opted_out"
    RECORD_GONE = "record_gone"
    RESTORED = "restored"
    NOT_SAMPLED = "not_sampled"
    TOO_OLD = "too_old"
    # decided before the call
    EXPIRED = "expired"
    NO_LONGER_TRUE = "no_longer_true"
    ON_SUPPRESSION_LIST = "on_suppression_list"
    INVITED_BEFORE = "invited_before"
    INVITED_BY_ANOTHER = "invited_by_another"
    ANSWERED_BEFORE = "answered_before"
    TOTAL_CAP = "total_cap"
    SURVEY_REMOVED = "survey_removed"
    # decided by a person
    DROPPED = "dropped"
    ERASED = "erased"
    SETTLED_BY_HAND = "settled_by_hand"
    # decided by the call
    REFUSED = "refused"
    NO_CLEAR_END = "no_clear_end"
    # an invitation waits
    DELAY = "delay"
    SEND_HOURS = "send_hours"
    DAILY_CAP = "daily_cap"
    CAP = "cap"
    PRIORITY = "priority"
    IN_DOUBT = "in_doubt"
    BRAKE = "brake"


KNOWN: frozenset[str | None] = frozenset({None, *Reason})  # what a record may have as its reason
