"""Says facts in words, and the story of an invitation in one line."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from connector.explain.fact import Fact, Kind
from connector.explain.story import Story, answers
from connector.reasons import Reason

_WHY: Mapping[str, str] = {
    Reason.NO_ADDRESS: "there is no address",
    Reason.INVALID_ADDRESS: "the address is none that a mail server takes",
    Reason.OPTED_OUT: "the customer opted out",
    Reason.RECORD_GONE: "a record that it needs was deleted or is hidden",
    Reason.RESTORED: "the record came back from the recycle bin",
    Reason.NOT_SAMPLED: "the person is not in the sample",
    Reason.TOO_OLD: "the change is too old",
    Reason.EXPIRED: "it could not be sent in time",
    Reason.NO_LONGER_TRUE: "the condition did not hold any more before the call",
    Reason.ON_SUPPRESSION_LIST: "the person is on the suppression list",
    Reason.INVITED_BEFORE: "this survey invited the person shortly before",
    Reason.INVITED_BY_ANOTHER: "another survey invited the person shortly before",
    Reason.ANSWERED_BEFORE: "the person answered shortly before",
    Reason.TOTAL_CAP: "the survey has sent as many as total_cap allows",
    Reason.SURVEY_REMOVED: "the configuration does not have the survey any more",
    Reason.DROPPED: "a person decided so",
    Reason.ERASED: "the person was erased, and is never invited again",
    Reason.SETTLED_BY_HAND: "a person found out that it was sent",
    Reason.REFUSED: "Pisano refuses it",
    Reason.NO_CLEAR_END: "the call had no clear end",
}
_RESULTS = {
    "accepted": "accepted",
    "rejected": "Pisano refused the body",
    "refused": "not carried out, so no e-mail has left",
    "unknown": "no clear end: the e-mails may have been sent",
}


def why(code: str) -> str:
    """A reason code in words."""
    return f"{_WHY[code]} ({code})" if code in _WHY else code


def words(fact: Fact, story: Story | None = None) -> str:
    """What a fact says. `story` tells how long a call's invitations had waited, and what an erasure wrote again."""
    if story and fact.kind is Kind.WRITE and _is_emptied(fact, story):
        return f"emptied by an erasure: the write of rule {fact.details['rule']}"
    said = _attempt(fact, story) if fact.kind is Kind.ATTEMPT else _SAYS[fact.kind](fact)
    retried = f" (retry of the dead letter {fact.details['retry_of']})" if "retry_of" in fact.details else ""
    return said + retried


def lines(story: Story) -> Iterator[str]:
    """The story of each invitation in one line, in order of time; without one, why there may be none."""
    told, answered = set[str | None](), defaultdict[str | None, list[Fact]](list)
    for feedback in story.of(Kind.FEEDBACK):
        answered[_asked_by(feedback, story)].append(feedback)
    for invitation in story.of(Kind.INVITATION):
        if (id_ := invitation.id("invitation")) not in told:
            told.add(id_)
            parts = [_invited(invitation), _sent(invitation, story), *_answered(answered[id_], story)]
            yield f"invitation {id_}: " + ", ".join(filter(None, parts))
    last = {outcome.id("invitation"): outcome for outcome in story.of(Kind.OUTCOME)}
    for id_, outcome in last.items():
        if id_ not in told:
            yield f"invitation {id_}: {_ended(outcome)}; its own record is no longer on the topic"
    if not told and not last:
        yield from _not_invited(story)


def _not_invited(story: Story) -> Iterator[str]:
    retried = {fact.details.get("retry_of") for fact in story.facts}
    letters = [one for one in story.of(Kind.DEAD_LETTER) if f"{one.partition}/{one.offset}" not in retried]
    if found := letters or story.of(Kind.PARKED):
        yield f"no invitation: {words(found[-1])}"
        return
    if any(not change.details.get("ours") for change in story.of(Kind.CHANGE)):
        yield (
            "no invitation: no survey wants these changes, or trigger has not come to them yet."
            " `connector preview` says what a survey would do with one."
        )


def _change(fact: Fact) -> str:
    said = fact.details
    whose = "our own write made it: " if said.get("ours") else ""
    changed = f", changed: {said['changed']}" if "changed" in said and said["change"] != "EVENT" else ""
    more = f" and {said['more']} more" if "more" in said else ""
    return f"{whose}{said['change']} of {said['entity']} {fact.id('record')}{changed}{more}"


def _invitation(fact: Fact) -> str:
    said = fact.details
    to = f"survey {said['survey']}, campaign {said['campaign']} of account {said['account']}"
    if fact.code:
        return f"not invited, because {why(fact.code)}; {to}" + _rest(fact, "detail")
    due = f", due {_short(datetime.fromisoformat(said['due']))}" if "due" in said else ""
    return f"invited to {to}{due}; invitation {fact.id('invitation')}" + _rest(fact, "detail")


def _attempt(fact: Fact, story: Story | None) -> str:
    said = fact.details
    if "invitation" not in fact.ids:
        what = f"call {fact.id('attempt')} ({said['call']}) of account {said['account']}"
    else:
        count = len(fact.ids["invitation"])
        what = f"call {fact.id('attempt')} with {count} invitation{'s' * (count != 1)} of account {said['account']}"
    if said["state"] == "begun":
        return f"{what} begins{_waits(fact, story)}"
    took = (fact.at - datetime.fromisoformat(said["begun"])).total_seconds()
    return f"{what} ended after {took:.3g} s: {_RESULTS.get(said.get('result', ''), 'unknown')}" + _rest(fact, "detail")


def _waits(fact: Fact, story: Story | None) -> str:
    """How long the invitations of a call that the story tells had waited for it since they were due."""
    carried = fact.ids.get("invitation", ())
    waited = [
        (fact.at - _due(invitation)).total_seconds()
        for invitation in (story.of(Kind.INVITATION) if story else ())
        if invitation.id("invitation") in carried
    ]
    return f", {max(0.0, *waited):.3g} s after its invitation was due" if waited else ""


def _due(invitation: Fact) -> datetime:
    due = invitation.details.get("due")
    return max(invitation.at, datetime.fromisoformat(due)) if due else invitation.at


def _outcome(fact: Fact) -> str:
    because = f", because {why(fact.code)}" if fact.code else ""
    return f"{fact.details['outcome']}{because}; invitation {fact.id('invitation')}{_rest(fact, 'detail')}"


def _feedback(fact: Fact) -> str:
    said = fact.details
    given = f", given on {_short(datetime.fromisoformat(said['answered']))}" if "answered" in said else ""
    misfits = f"; did not fit their types: {said['misfits']}" if "misfits" in said else ""
    if said.get("link"):
        return f"link {fact.id('feedback')} was made by account {said['account']}"
    return f"answer {fact.id('feedback')} came to the webhook of {said['account']}{given}{misfits}"


def _write(fact: Fact) -> str:
    said, target = fact.details, _target(fact)
    if not said["success"]:
        return f"rule {said['rule']} did not store {target}{_rest(fact, 'error')}"
    done = "created" if said.get("created") else "updated"
    names = ("left_out", "cut", "not_emptied")
    left = "".join(f"; {name.replace('_', ' ')}: {said[name]}" for name in names if name in said)
    return f"rule {said['rule']} {done} {target}: {said.get('fields', 'no field')}{left}"


def _is_emptied(write: Fact, story: Story) -> bool:
    """Whether an erasure wrote it again: it keeps the write's id and time, which a new write would not."""
    same = (one for one in story.of(Kind.WRITE) if (one.id("write"), one.at) == (write.id("write"), write.at))
    return next(same, write).place != write.place


def _target(write: Fact) -> str:
    return f"{write.details['object']} {write.details.get('record', '')}".strip()


def _dead_letter(fact: Fact) -> str:
    said = fact.details
    return f"{said['stage']} gave up on {said.get('source', 'it')}: {fact.code}{_rest(fact, 'error')}"


def _parked(fact: Fact) -> str:
    said = fact.details
    return f"{said['stage']} parked {said.get('source', 'it')} for the held cell {said['cell']}"


def _waiting(fact: Fact) -> str:
    until = fact.details.get("until")
    return f"waits until {_short(datetime.fromisoformat(until))}" if until else "waits for a person to decide"


def _action(fact: Fact) -> str:
    said = fact.details
    about = f"survey {said['survey']}" if "survey" in said else f"invitation {fact.id('invitation')}"
    return f"{said['by']} decided {said['decision']} about the {about}{_rest(fact, 'reason')}"


def _suppression(fact: Fact) -> str:
    said = fact.details
    if said.get("erased"):
        return "allowed again after an erasure" if said.get("removed") else "erased, and never invited again"
    survey = said.get("survey", "every survey")
    if said.get("removed"):
        return f"taken from the suppression list, for {survey}"
    until = f" until {_short(datetime.fromisoformat(said['until']))}" if "until" in said else ""
    return f"put on the suppression list{until}, for {survey}"


def _unreadable(fact: Fact) -> str:
    return f"cannot be read{_rest(fact, 'error')}"


_SAYS = {
    Kind.CHANGE: _change,
    Kind.INVITATION: _invitation,
    Kind.OUTCOME: _outcome,
    Kind.FEEDBACK: _feedback,
    Kind.WRITE: _write,
    Kind.DEAD_LETTER: _dead_letter,
    Kind.PARKED: _parked,
    Kind.WAITING: _waiting,
    Kind.ACTION: _action,
    Kind.SUPPRESSION: _suppression,
    Kind.UNREADABLE: _unreadable,
}


def _rest(fact: Fact, name: str) -> str:
    return f": {fact.details[name]}" if name in fact.details else ""


def _invited(invitation: Fact) -> str:
    survey, at = invitation.details["survey"], _short(invitation.at)
    if invitation.code:
        return f"{survey} did not invite on {at}, because {why(invitation.code)}"
    return f"invited to {survey} on {at}"


def _sent(invitation: Fact, story: Story) -> str:
    if invitation.code:
        return ""
    outcomes = [fact for fact in story.of(Kind.OUTCOME) if fact.id("invitation") == invitation.id("invitation")]
    if outcomes:
        return _ended(outcomes[-1])
    calls = [fact for fact in story.of(Kind.ATTEMPT) if invitation.id("invitation") in fact.ids.get("invitation", ())]
    if calls and calls[-1].details["state"] == "begun":
        return f"a call that began on {_short(calls[-1].at)} has no end yet"
    kept = [*story.of(Kind.PARKED), *story.of(Kind.WAITING)]
    if kept := [fact for fact in kept if fact.id("invitation") == invitation.id("invitation")]:
        last = max(kept, key=lambda fact: fact.order)
        return f"{_SAYS[last.kind](last)}, without an outcome yet"
    return f"due {_short(_due(invitation))}, without an outcome yet"


def _ended(outcome: Fact) -> str:
    because = f", because {why(outcome.code)}" if outcome.code else ""
    return f"{outcome.details['outcome']} on {_short(outcome.at)}{because}"


def _answered(answered: Sequence[Fact], story: Story) -> Iterator[str]:
    for is_link, done in ((True, "link made"), (False, "answered")):
        if first := next((fact for fact in answered if bool(fact.details.get("link")) is is_link), None):
            yield f"{done} on {_short(first.at)}"
    ids = {fact.id("feedback") for fact in answered}
    for write in story.of(Kind.WRITE):
        if write.id("feedback") in ids and not _is_emptied(write, story):
            yield f"{'' if write.details['success'] else 'not '}written to {_target(write)}"


def _asked_by(feedback: Fact, story: Story) -> str | None:
    """The id of the newest invitation that an answer may belong to."""
    asked = [each for each in story.of(Kind.INVITATION) if not each.code and answers(feedback, each)]
    return asked[-1].id("invitation") if asked else None


def _short(at: datetime) -> str:
    return f"{at.astimezone(UTC):%F %T} UTC"
