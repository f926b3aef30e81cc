"""Follows the ids from fact to fact, and tells the story of what somebody asks about.

Some ids are shared: a call carries many customers' invitations, a record may have thousands of answers, a person may
have many records. So a fact leads only to its own story, and to others only if it is itself what was asked for.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property

from connector.explain.fact import Fact, Kind, Place
from connector.explain.index import Index
from connector.reasons import Reason
from connector.records import digest

_MOST_OF_ONE = 200  # facts of a kind for one id: more than anybody reads
_MOST = 2_000  # facts of a story
# Between the commit of our own write in Salesforce and the time at which write noted its answer. A call takes up to
# 60 s, and the clocks of two systems may differ by as much.
_NEAR = timedelta(minutes=2)


@dataclass(frozen=True)
class Story:
    """Facts in order of time. `cut` says in words what was left out because there was too much of it."""

    facts: list[Fact]
    cut: list[str] = field(default_factory=list)

    def of(self, kind: Kind) -> list[Fact]:
        """The facts of one kind."""
        return self._by_kind[kind]

    @cached_property
    def _by_kind(self) -> dict[Kind, list[Fact]]:
        return {kind: [fact for fact in self.facts if fact.kind is kind] for kind in Kind}


@dataclass(frozen=True)
class _Lead:
    """Facts of these kinds with this id, of this time, that `fits` takes."""

    kinds: Sequence[Kind]
    id_kind: str
    id: str
    since: datetime | None = None
    until: datetime | None = None
    fits: Callable[[Fact], bool] = lambda _: True


def tell(index: Index, ids: Sequence[tuple[str, str]]) -> Story:
    """The story of everything that has one of these ids."""
    cut: dict[str, None] = {}

    def follow(lead: _Lead) -> Iterator[Fact]:
        for kind in lead.kinds:
            found = index.find(kind, lead.id_kind, lead.id, most=_MOST_OF_ONE + 1, since=lead.since, until=lead.until)
            if len(found) > _MOST_OF_ONE:
                what = "" if lead.id_kind == "person" else f" {lead.id}"
                cut[f"only the newest {_MOST_OF_ONE} facts of the kind {kind} of the {lead.id_kind}{what} are told"] = (
                    None
                )
            yield from filter(lead.fits, found[:_MOST_OF_ONE])

    found: dict[Place, Fact] = {}
    asked = [(fact, id_kind) for id_kind, id_ in ids for fact in follow(_Lead(tuple(Kind), id_kind, id_))]
    new = {fact.place: fact for fact, _ in asked}
    ahead = [lead for fact, id_kind in asked for lead in (*_leads(fact), *_causes(fact, id_kind))]
    while new:
        found |= new
        if len(found) >= _MOST:
            cut[f"the story is cut after about {_MOST} facts"] = None
            break
        if not any(fact.kind is Kind.INVITATION for fact in found.values()):
            ahead += [lead for fact in new.values() for lead in _asked_by(fact)]
        ahead += _listed([*found.values()])
        new = {}
        for lead in dict.fromkeys(ahead):
            if len(found) + len(new) < _MOST:
                new |= {fact.place: fact for fact in follow(lead) if fact.place not in found}
        ahead = [lead for fact in new.values() for lead in _leads(fact)]
    return Story(sorted(found.values(), key=lambda fact: fact.order), [*cut])


def answers(feedback: Fact, invitation: Fact) -> bool:
    """Whether an answer may belong to an invitation: it came later, and names no other record or person.

    A link's id comes from its invitation's: there is no doubt.
    """
    if feedback.details.get("link"):
        return feedback.id("feedback") == digest("link", invitation.id("invitation") or "")
    return feedback.at >= invitation.at and not any(
        _contradict(known(feedback), known(invitation)) for known in (_record, _person)
    )


def _contradict(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Whether both know the same kinds of ids, and agree in none of them."""
    both = one.keys() & other.keys()
    return bool(both) and all(one[kind] != other[kind] for kind in both)


def _record(fact: Fact) -> Mapping[str, str]:
    return {"record": id_} if (id_ := fact.id("record")) else {}


def _person(fact: Fact) -> Mapping[str, str]:
    """The person's ids by what they are of. Of one who has several addresses, the contact tells none from another."""
    return dict(zip(fact.details.get("person_by", ()), fact.ids.get("person", ()), strict=True))


def _causes(fact: Fact, id_kind: str) -> Iterator[_Lead]:
    """Where a fact leads that was asked for by its own id: to all that it caused, for whichever customer."""
    if fact.kind is Kind.CHANGE:
        yield from _by(fact, "event", Kind.INVITATION, Kind.DEAD_LETTER, Kind.PARKED)
        if _is_ours(fact):
            yield from _near(fact, Kind.WRITE)
    elif fact.kind is Kind.ATTEMPT and id_kind != "invitation":
        yield from _by(fact, "invitation", Kind.INVITATION, Kind.OUTCOME)


def _leads(fact: Fact) -> Iterator[_Lead]:
    match fact.kind:
        case Kind.INVITATION:
            yield from _by(fact, "event", Kind.CHANGE)
            yield from _by(
                fact,
                "invitation",
                Kind.OUTCOME,
                Kind.ATTEMPT,
                Kind.ACTION,
                Kind.PARKED,
                Kind.WAITING,
                Kind.DEAD_LETTER,
                Kind.INVITATION,
            )
            for id_kind in ("record", "person"):
                yield from _by(fact, id_kind, Kind.FEEDBACK, since=fact.at, fits=_Answers(fact))
        case Kind.OUTCOME | Kind.ACTION:
            yield from _by(fact, "invitation", Kind.INVITATION)
            yield from _by(fact, "attempt", Kind.ATTEMPT)
            yield from _by(fact, "action", Kind.ACTION)
        case Kind.FEEDBACK:
            yield from _by(fact, "feedback", Kind.WRITE, Kind.PARKED, Kind.DEAD_LETTER, Kind.FEEDBACK)
        case Kind.WRITE:
            yield from _by(fact, "feedback", Kind.FEEDBACK)
            yield from _near(fact, Kind.CHANGE) if fact.details.get("success") else ()
        case Kind.DEAD_LETTER | Kind.PARKED | Kind.WAITING:
            if "invitation" in fact.ids:
                yield from _by(fact, "invitation", Kind.INVITATION)
            else:
                yield from _by(fact, "event", Kind.CHANGE)
                yield from _by(fact, "feedback", Kind.FEEDBACK)


def _asked_by(fact: Fact) -> Iterator[_Lead]:
    """From an answer to the invitations that it may answer. If one is known already, others are not its story."""
    if fact.kind is Kind.FEEDBACK:
        for id_kind in ("record", "person"):
            yield from _by(fact, id_kind, Kind.INVITATION, until=fact.at, fits=_Asks(fact))


def _listed(facts: Sequence[Fact]) -> Iterator[_Lead]:
    """From invitations that the suppression list ended to the entries about their persons, until then."""
    stopped = [fact for fact in facts if fact.kind is Kind.OUTCOME and fact.code == Reason.ON_SUPPRESSION_LIST]
    ended = {fact.id("invitation"): fact.at for fact in stopped}
    for fact in facts if ended else ():
        if fact.kind is Kind.INVITATION and (at := ended.get(fact.id("invitation"))):
            yield from _by(fact, "person", Kind.SUPPRESSION, until=at)


def _by(
    fact: Fact,
    id_kind: str,
    *kinds: Kind,
    since: datetime | None = None,
    until: datetime | None = None,
    fits: Callable[[Fact], bool] = lambda _: True,
) -> Iterator[_Lead]:
    for id_ in fact.ids.get(id_kind, ()):
        yield _Lead(kinds, id_kind, id_, since, until, fits)


def _near(fact: Fact, kind: Kind) -> Iterator[_Lead]:
    """From a write to the changes that it made, and back."""
    fits = _is_ours if kind is Kind.CHANGE else _is_stored
    yield from _by(fact, "record", kind, since=fact.at - _NEAR, until=fact.at + _NEAR, fits=fits)


def _is_ours(fact: Fact) -> bool:
    return bool(fact.details.get("ours"))


def _is_stored(fact: Fact) -> bool:
    return bool(fact.details.get("success"))


@dataclass(frozen=True, eq=False)
class _Answers:
    invitation: Fact

    def __call__(self, fact: Fact) -> bool:
        return answers(fact, self.invitation)


@dataclass(frozen=True, eq=False)
class _Asks:
    feedback: Fact

    def __call__(self, fact: Fact) -> bool:
        return answers(self.feedback, fact)
