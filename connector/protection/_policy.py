"""The policy: one verdict from the configuration, the invitation, what is known of the person, and the time."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain

from connector.config import Protect, ProtectAll, Survey
from connector.protection._claims import Claims
from connector.protection._hours import day_of, next_day, opening
from connector.protection._memory import Memory
from connector.protection._people import People
from connector.protection._verdict import Go, Stop, Verdict, Wait
from connector.reasons import Reason
from connector.records import Invitation, Outcome

_ENDS_WITHIN = timedelta(seconds=5)  # most calls have ended by then; the others are asked about again
_CLAIM_STANDS = timedelta(seconds=60)  # a younger claim may still be given back, because Pisano refused the call
_BETTER_WITHIN = timedelta(seconds=5)  # the invitations of one change come within a second or two


@dataclass(frozen=True)
class Known:
    """What the sender of an account knows."""

    memory: Memory
    people: People
    account: str
    claims: Claims | None = None  # without it, no other account counts


class Policy:
    """`surveys` and `over_all` are the configuration."""

    def __init__(self, surveys: Mapping[str, Survey], over_all: ProtectAll) -> None:
        self._surveys = surveys
        self._over_all = over_all
        shared = [survey.priority for survey in surveys.values() if not survey.protect.except_from_any]
        self._highest = max(shared, default=0)

    def verdict(self, invitation: Invitation, known: Known, now: datetime, *, by_hand: bool = False) -> Verdict:
        """Whether the invitation may be sent now, must wait, or is never sent.

        An earlier invitation of the person stops this one also while it waits, if it would still count when this one
        is due. The verdict holds for now: ask again right before the call. When a person has decided to send the
        invitation again (`by_hand`), its age and earlier invitations do not count.
        """
        survey = self._surveys.get(invitation.survey)
        if survey is None:
            return _stop(Reason.SURVEY_REMOVED, "the configuration does not have the survey")
        steps = chain(
            self._is_listed(invitation, known, now),
            () if by_hand else self._stops(invitation, survey, known, now),
            self._waits(invitation, survey, known, now),
            () if by_hand else self._claimed(invitation, survey, known, now),
        )
        return next((verdict for verdict in steps if verdict is not None), Go())

    def _is_listed(self, invitation: Invitation, known: Known, now: datetime) -> Iterator[Stop | None]:
        entry = known.people.suppressed_by(invitation, _due(invitation, now))
        yield _stop(*entry) if entry else None

    def _stops(self, invitation: Invitation, survey: Survey, known: Known, now: datetime) -> Iterator[Stop | None]:
        terms, protect = invitation.protection, survey.protect
        if terms.expires_at is not None and now >= terms.expires_at:
            yield Stop(Outcome.EXPIRED, Reason.EXPIRED, f"it could not be sent until {terms.expires_at:%FT%TZ}")
        oldest = None if protect.max_age is None else now - timedelta(seconds=protect.max_age)
        if oldest is not None and terms.happened_at is not None and terms.happened_at < oldest:
            yield _stop(Reason.TOO_OLD, f"the change was made at {terms.happened_at:%FT%TZ}")
        if known.memory.is_reached(invitation):
            yield _stop(Reason.INVITED_BEFORE, "the same change has invited this address already")
        due = _due(invitation, now)
        yield self._invited(invitation, survey, known, due)
        yield self._answered(invitation, survey, known, due)
        if protect.total_cap is not None and known.memory.sent_in_all(invitation.survey) >= protect.total_cap:
            yield _stop(Reason.TOTAL_CAP, f"{protect.total_cap} were sent")

    def _invited(self, invitation: Invitation, survey: Survey, known: Known, due: datetime) -> Stop | None:
        own, over_all = invitation.protection.once_per, self._over_all.once_per_any
        if own is not None and survey.protect.counts != "answers":
            last = known.memory.invited_at(invitation, invitation.survey)
            if last is not None and due - last < timedelta(seconds=own):
                return _stop(Reason.INVITED_BEFORE, f"invited at {last:%FT%TZ}")
        if over_all is not None and not survey.protect.except_from_any and self._over_all.counts != "answers":
            last = known.memory.invited_at(invitation, None)
            if last is not None and due - last < timedelta(seconds=over_all):
                return _stop(Reason.INVITED_BY_ANOTHER, f"invited at {last:%FT%TZ}")
        return None

    def _answered(self, invitation: Invitation, survey: Survey, known: Known, due: datetime) -> Stop | None:
        periods = [
            invitation.protection.once_per if survey.protect.counts != "invitations" else None,
            None
            if survey.protect.except_from_any or self._over_all.counts == "invitations"
            else self._over_all.once_per_any,
        ]
        longest = max((period for period in periods if period is not None), default=None)
        last = None if longest is None else known.people.answered_at(invitation)
        if longest is None or last is None or due - last >= timedelta(seconds=longest):
            return None
        return _stop(Reason.ANSWERED_BEFORE, f"answered at {last:%FT%TZ}")

    def _waits(
        self, invitation: Invitation, survey: Survey, known: Known, now: datetime
    ) -> Iterator[Wait | Stop | None]:
        terms, protect = invitation.protection, survey.protect
        yield known.memory.brakes.verdict(invitation, now)
        if terms.not_before is not None and now < terms.not_before:
            yield Wait(terms.not_before, Reason.DELAY)
        if (opens := opening(protect, terms.zone, now)) > now:
            yield Wait(opens, Reason.SEND_HOURS)
        yield _capped(invitation, protect, known, now)
        yield self._waits_for_a_better(invitation, survey, now)
        yield self._waits_for_an_end(invitation, survey, known, now)

    def _claimed(
        self, invitation: Invitation, survey: Survey, known: Known, now: datetime
    ) -> Iterator[Wait | Stop | None]:
        """Asks whether another account has claimed the person."""
        period = self._over_all.once_per_any
        if known.claims is None or period is None or survey.protect.except_from_any:
            return
        last = known.claims.before(known.memory.persons(invitation), known.account, invitation.id)
        if last is not None and now - last < min(_CLAIM_STANDS, timedelta(seconds=period)):
            yield Wait(last + _CLAIM_STANDS, Reason.IN_DOUBT)
        elif last is not None and now - last < timedelta(seconds=period):
            yield _stop(Reason.INVITED_BY_ANOTHER, f"another account invited the person at {last:%FT%TZ}")

    def _waits_for_a_better(self, invitation: Invitation, survey: Survey, now: datetime) -> Wait | None:
        """Lets a survey with a higher priority come first, when both came at once or are due at once."""
        if self._over_all.once_per_any is None or survey.protect.except_from_any or survey.priority >= self._highest:
            return None
        since = max(invitation.created_at, invitation.protection.not_before or invitation.created_at)
        until = min(since, now) + _BETTER_WITHIN  # the clock that wrote `created_at` may be ahead
        return Wait(until, Reason.PRIORITY) if until > now else None

    def _waits_for_an_end(self, invitation: Invitation, survey: Survey, known: Known, now: datetime) -> Wait | None:
        """Waits while another invitation may or may not have reached the person, or take the last place of a cap."""
        own = invitation.protection.once_per is not None
        over_all = self._over_all.once_per_any is not None and not survey.protect.except_from_any
        left = (survey.protect.total_cap or 0) - known.memory.sent_in_all(invitation.survey)
        is_last = survey.protect.total_cap is not None and known.memory.about_to(invitation.survey) >= left
        if is_last or ((own or over_all) and known.memory.in_doubt(invitation)):
            return Wait(now + _ENDS_WITHIN, Reason.IN_DOUBT)
        return None


def _due(invitation: Invitation, now: datetime) -> datetime:
    return max(now, invitation.protection.not_before or now)


def _capped(invitation: Invitation, protect: Protect, known: Known, now: datetime) -> Wait | None:
    today, terms = day_of(protect, now), invitation.protection
    if protect.daily_cap is not None and known.memory.sent_on(invitation.survey, today) >= protect.daily_cap:
        return Wait(next_day(protect, now), Reason.DAILY_CAP)
    if terms.cap is None or terms.cap_per_day is None:
        return None
    is_full = known.memory.sent_for(invitation.survey, terms.cap, today) >= terms.cap_per_day
    return Wait(next_day(protect, now), Reason.CAP) if is_full else None


def _stop(reason: Reason, detail: str) -> Stop:
    return Stop(Outcome.SUPPRESSED, reason, detail)
