"""The story of an address, a record or an id: all that belongs to it, and nothing of other customers."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from helpers.config_files import MINIMAL, read
from helpers.made_up_topics import START, MadeUpTopics, case_id

from connector.config import Config
from connector.decisions import Suppression
from connector.explain import Index, Kind, Story, tell, wanted
from connector.explain.words import lines, why, words
from connector.kafka.dead_letters import DeadLetters, retried
from connector.kafka.inbound import InRecord
from connector.protection import Hashes
from connector.reasons import Reason
from connector.records import Feedback, Outcome, Settlement, Write, digest

CALL = "a" * 32
CONTACT = "0035g00000XyZ12AAF"
HOUR = timedelta(hours=1)
WAITS = {Reason.DELAY, Reason.SEND_HOURS, Reason.DAILY_CAP, Reason.CAP, Reason.PRIORITY, Reason.IN_DOUBT, Reason.BRAKE}

Ask = Callable[[str], Story]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return read(tmp_path, MINIMAL)


@pytest.fixture
def topics(config: Config) -> MadeUpTopics:
    return MadeUpTopics(config)


@pytest.fixture
def index(config: Config) -> Iterator[Index]:
    with closing(Index.temporary(config)) as index:
        yield index


@pytest.fixture
def ask(index: Index) -> Ask:
    return lambda what: tell(index, wanted(what).all_ids(index.facts))


def put(index: Index, records: Iterable[InRecord]) -> None:
    index.add([fact for each in records if (fact := index.facts.of(each))], {})
    index.sort()


def two_customers_in_one_call(topics: MadeUpTopics) -> tuple[list[str], list[InRecord]]:
    """Customers 1 and 2, with address c1@acme.com and c2@acme.com, both all the way round. Their invitations' ids."""
    invitations, records = dict[str, str](), list[InRecord]()
    for number in (1, 2):
        records.append(topics.change(case_id(number), START))
        id_, record = topics.invitation(records[-1], case_id(number), f"c{number}@acme.com", START)
        records.append(record)
        invitations[id_] = case_id(number)
    records += topics.call(CALL, invitations, START + timedelta(seconds=5))
    for number in (1, 2):
        records += topics.answer(case_id(number), f"c{number}@acme.com", START + HOUR)
    return [*invitations], records


def test_every_id_of_a_round_trip_tells_the_same_story(topics: MadeUpTopics, index: Index, ask: Ask) -> None:
    [invitation, _], records = two_customers_in_one_call(topics)
    put(index, records)
    whole = ask("c1@acme.com")
    assert [fact.kind for fact in whole.facts] == [
        Kind.CHANGE,
        Kind.INVITATION,
        Kind.ATTEMPT,
        Kind.ATTEMPT,
        Kind.OUTCOME,
        Kind.FEEDBACK,
        Kind.CHANGE,
        Kind.WRITE,
        Kind.WRITE,
    ]
    [feedback] = whole.of(Kind.FEEDBACK)
    write = whole.of(Kind.WRITE)[0]
    change = whole.of(Kind.CHANGE)[0]
    same = ["C1@ACME.com", case_id(1), case_id(1)[:15], invitation, change.id("event"), change.id("trace")]
    same += [feedback.id("feedback"), feedback.id("trace"), write.id("write"), write.details["record"]]
    for what in same:
        assert ask(what or "").facts == whole.facts, what
    assert whole.cut == []


def test_a_call_that_carried_others_tells_of_them_only_if_it_is_asked_for(
    topics: MadeUpTopics, index: Index, ask: Ask
) -> None:
    invitations, records = two_customers_in_one_call(topics)
    put(index, records)
    assert [fact.id("invitation") for fact in ask(invitations[0]).of(Kind.INVITATION)] == invitations[:1]
    assert [fact.id("invitation") for fact in ask(CALL).of(Kind.INVITATION)] == invitations
    assert len(ask(CALL).facts) == len(records)


def test_the_head_says_in_a_line_how_it_went(topics: MadeUpTopics, index: Index, ask: Ask) -> None:
    [invitation, _], records = two_customers_in_one_call(topics)
    put(index, records)
    story = ask(invitation)
    assert [*lines(story)] == [
        f"invitation {invitation}: invited to closed-case on 2026-01-01 00:00:00 UTC, sent on 2026-01-01 00:00:06 UTC,"
        " answered on 2026-01-01 01:00:00 UTC, written to Survey_Response__c a015g0000000001AAA,"
        f" written to Case {case_id(1)}"
    ]
    said = [words(fact, story) for fact in story.facts]
    assert said[0] == "UPDATE of Case 5005g0000000001, changed: Status"
    assert said[2] == f"call {CALL} with 2 invitations of account main begins, 3 s after its invitation was due"
    assert said[3] == f"call {CALL} with 2 invitations of account main ended after 1 s: accepted"
    assert said[6].startswith("our own write made it: UPDATE of Case")


@pytest.mark.parametrize(
    ("outcome", "reason", "said"),
    [
        (None, None, "due 2026-01-01 00:00:02 UTC, without an outcome yet"),
        ("begun", None, "a call that began on 2026-01-01 00:00:00 UTC has no end yet"),
        (Outcome.UNKNOWN, None, "unknown on 2026-01-01 00:00:01 UTC"),
    ],
)
def test_what_has_no_end_says_where_it_is(
    outcome: Outcome | str | None, reason: str | None, said: str, topics: MadeUpTopics, index: Index, ask: Ask
) -> None:
    change = topics.change(case_id(1), START)
    id_, record = topics.invitation(change, case_id(1), "c@acme.com", START)
    calls = [*topics.call(CALL, {id_: case_id(1)}, START, outcome=Outcome.UNKNOWN)] if outcome else []
    put(index, [change, record, *(calls[:1] if outcome == "begun" else calls)])
    [line] = lines(ask(id_))
    assert line.endswith(said)


def test_who_is_not_invited_has_the_reason_in_words(topics: MadeUpTopics, index: Index, ask: Ask) -> None:
    change = topics.change(case_id(1), START)
    id_, record = topics.invitation(change, case_id(1), None, START, suppressed=Reason.OPTED_OUT)
    put(index, [change, record])
    assert [*lines(ask(case_id(1)))] == [
        f"invitation {id_}: closed-case did not invite on 2026-01-01 00:00:00 UTC,"
        " because the customer opted out (opted_out)"
    ]


def test_an_invitation_that_the_suppression_list_stopped_tells_of_the_entry(
    topics: MadeUpTopics, index: Index, ask: Ask
) -> None:
    """Also when the entry is about the contact, and somebody asks for the address."""
    change = topics.change(case_id(1), START)
    id_, record = topics.invitation(change, case_id(1), "c@acme.com", START, contact=CONTACT)
    at = START - timedelta(days=1)
    entry = Suppression(contact=CONTACT, by="legal", at=at)
    end = Settlement(
        invitation=id_,
        account="main",
        survey="closed-case",
        record_id=case_id(1),
        outcome=Outcome.SUPPRESSED,
        reason=Reason.ON_SUPPRESSION_LIST,
        at=START + timedelta(seconds=3),
    )
    put(
        index,
        [
            topics.put("pisano.suppressions", f"contact/{CONTACT[:15]}", entry, at),
            change,
            record,
            topics.put("pisano.attempts", f"main/{id_}", end, end.at),
        ],
    )
    for asked in (id_, case_id(1), "c@acme.com"):
        told = ask(asked)
        assert [words(fact) for fact in told.of(Kind.SUPPRESSION)] == ["put on the suppression list, for every survey"]


def test_without_an_invitation_the_head_says_why_there_may_be_none(
    config: Config, topics: MadeUpTopics, index: Index, ask: Ask
) -> None:
    changes = [topics.change(case_id(number), START) for number in (1, 2)]
    letters = DeadLetters(config.kafka, "trigger", lambda *_: None)
    made = letters.of_record(changes[1], "gap", ValueError("it does not say what changed"), "trigger/closed-case")
    invitation, _ = topics.invitation(changes[0], case_id(3), "c@acme.com", START)  # Kafka has deleted it
    calls = topics.call(CALL, {invitation: case_id(3)}, START)
    put(index, [*changes, topics.place("connector.deadletters", made.key, made.value, made.headers, START), *calls])
    heads = [line for number in (1, 2, 3) for line in lines(ask(case_id(number)))]
    assert heads[0].startswith("no invitation: no survey wants these changes, or trigger has not come to them yet.")
    assert heads[1:] == [
        "no invitation: trigger gave up on salesforce.cdc.Case/0/1: gap: ValueError: it does not say what changed",
        f"invitation {invitation}: sent on 2026-01-01 00:00:01 UTC; its own record is no longer on the topic",
    ]


def test_a_dead_letter_that_was_put_back_is_no_reason_any_more(
    config: Config, topics: MadeUpTopics, index: Index, ask: Ask
) -> None:
    change = topics.change(case_id(1), START)
    letters = DeadLetters(config.kafka, "trigger", lambda *_: None)
    made = letters.of_record(change, "gap", ValueError("it does not say what changed"), "trigger/closed-case")
    letter = topics.place("connector.deadletters", made.key, made.value, made.headers, START)
    again = retried(letter)
    put(index, [change, letter, topics.place("salesforce.cdc.Case", again.key, again.value, again.headers, START)])
    [head] = lines(ask(case_id(1)))
    assert head.startswith("no invitation: no survey wants these changes")


def test_the_last_outcome_counts_also_when_the_invitations_own_record_is_gone(
    topics: MadeUpTopics, index: Index, ask: Ask
) -> None:
    """A call had no clear end, and a person found out later that the e-mail was sent."""
    id_, _ = topics.invitation(topics.change(case_id(1), START), case_id(1), "c@acme.com", START)
    unknown = topics.call(CALL, {id_: case_id(1)}, START, outcome=Outcome.UNKNOWN)
    put(index, [*unknown, *topics.call(CALL, {id_: case_id(1)}, START + HOUR, outcome=Outcome.SENT)])
    assert [*lines(ask(id_))] == [
        f"invitation {id_}: sent on 2026-01-01 01:00:01 UTC; its own record is no longer on the topic"
    ]


def test_a_person_is_known_as_long_as_the_ledger_knows_whom_an_invitation_went_to(
    config: Config, topics: MadeUpTopics, index: Index, ask: Ask
) -> None:
    """Kafka keeps the ledger longer than the invitations."""
    contact = "0035g00000XyZ12AAF"
    id_, _ = topics.invitation(topics.change(case_id(1), START), case_id(1), "c@acme.com", START, contact=contact)
    settlement = Settlement(
        invitation=id_,
        account="main",
        survey="closed-case",
        record_id=case_id(1),
        outcome=Outcome.SENT,
        persons=Hashes.of_config(config.protect).persons(contact, "c@acme.com"),
        at=START,
    )
    put(index, [topics.put("pisano.attempts", f"main/{id_}", settlement, START)])
    for whom in ("C@acme.com", contact):
        assert [*lines(ask(whom))] == [
            f"invitation {id_}: sent on 2026-01-01 00:00:00 UTC; its own record is no longer on the topic"
        ]
    assert ask("d@acme.com").facts == []


def test_what_an_erasure_writes_again_is_no_second_write(topics: MadeUpTopics, index: Index, ask: Ask) -> None:
    [invitation, _], records = two_customers_in_one_call(topics)
    put(index, records)
    before = [*lines(ask(invitation))]
    for record in [one for one in records if one.topic == "salesforce.writes"]:
        write = Write.model_validate_json(record.value or b"")
        put(index, [topics.put("salesforce.writes", write.id, write.model_copy(update={"fields": {}}), write.at)])
    story = ask(invitation)
    assert [*lines(story)] == before
    assert [words(fact, story) for fact in story.of(Kind.WRITE)] == [
        "rule response created Survey_Response__c a015g0000000001AAA: Comment__c",
        f"rule detractor updated Case {case_id(1)}: Comment__c",
        "emptied by an erasure: the write of rule response",
        "emptied by an erasure: the write of rule detractor",
    ]


def test_every_reason_that_ends_an_invitation_is_said_in_words() -> None:
    assert [reason for reason in Reason if reason not in WAITS and why(reason) == reason] == []


def test_a_change_by_somebody_else_is_not_the_effect_of_our_write(topics: MadeUpTopics, index: Index, ask: Ask) -> None:
    [invitation, _], records = two_customers_in_one_call(topics)
    put(index, [*records, topics.change(case_id(1), START + HOUR, transaction="people")])
    put(index, [topics.change(case_id(1), START + 2 * HOUR, ours=True, transaction="later")])
    assert [fact.details.get("ours") for fact in ask(invitation).of(Kind.CHANGE)] == [None, True]
    assert len(ask(case_id(1)).of(Kind.CHANGE)) == 4


def test_an_answer_about_a_shared_record_belongs_to_the_customer_whom_it_names(
    topics: MadeUpTopics, index: Index, ask: Ask
) -> None:
    """Many customers may be invited because of one record, such as an account."""
    change = topics.change(case_id(1), START)
    (ada, first), (bob, second) = (topics.invitation(change, case_id(1), f"{n}@acme.com", START) for n in ("a", "b"))
    answers = [*topics.answer(case_id(1), "b@acme.com", START + HOUR)]
    put(index, [change, first, second, *answers])
    assert ask(ada).of(Kind.FEEDBACK) == []
    assert len(ask(bob).of(Kind.FEEDBACK)) == 1
    assert [fact.id("invitation") for fact in ask(bob).of(Kind.INVITATION)] == [bob]
    assert len(ask(case_id(1)).of(Kind.INVITATION)) == 2


def test_an_answer_counts_for_the_last_invitation_before_it(topics: MadeUpTopics, index: Index, ask: Ask) -> None:
    """The same case is closed twice, and then once more when the customer has opted out."""
    records: list[InRecord] = []
    for hours, reason in ((0, None), (5, None), (6, Reason.OPTED_OUT)):
        at = START + hours * HOUR
        records.append(topics.change(case_id(1), at, transaction=f"{hours}"))
        records.append(topics.invitation(records[-1], case_id(1), "c@acme.com", at, suppressed=reason)[1])
    put(index, [*records, *topics.answer(case_id(1), "c@acme.com", START + 7 * HOUR)])
    assert ["answered on" in line for line in lines(ask("c@acme.com"))] == [False, True, False]


def test_a_phone_number_and_the_link_that_was_made(topics: MadeUpTopics, index: Index, ask: Ask) -> None:
    """Of two surveys with links about the same record, each link belongs to its own invitation."""
    records, ids = [topics.change(case_id(1), START)], []
    for survey in ("visit", "complaint"):
        more = {"survey": survey, "phone": "+905330000000", "channel": "link"}
        id_, record = topics.invitation(records[0], case_id(1), None, START, **more)
        body = {"link": "https://example.com/s/1", "record_id": case_id(1)}
        link = Feedback(id=digest("link", id_), kind="link", account="main", received_at=START + HOUR, body=body)
        records += [record, topics.put("pisano.feedback", case_id(1), link, START + HOUR)]
        ids.append(id_)
    put(index, records)
    for what in ("+90 (533) 000-00-00", case_id(1)):
        heads = [*lines(ask(what))]
        assert [head.partition(":")[0] for head in heads] == [f"invitation {id_}" for id_ in ids]
        assert all(head.endswith("link made on 2026-01-01 01:00:00 UTC") for head in heads)
    story = ask(ids[1])
    assert [fact.id("feedback") for fact in story.of(Kind.FEEDBACK)] == [digest("link", ids[1])]
    assert "example.com" not in "".join(map(repr, story.facts))


def answered(topics: MadeUpTopics, **body: str) -> InRecord:
    """An answer about the first case."""
    body = {"sf_ref_id": case_id(1), **body}
    given = Feedback(id=digest("answer", *body.values()), account="main", received_at=START + HOUR, body=body)
    return topics.put("pisano.feedback", case_id(1), given, START + HOUR)


@pytest.mark.parametrize(
    ("given", "is_its"),
    [
        ("+90 533 123 45 67", True),
        ("0533 123 45 67", True),
        ("00905331234567", True),
        ("905331234567", True),
        ("0533 123 45 68", False),
        ("none", True),
    ],
)
def test_a_phone_number_in_an_answer_is_read_as_that_of_an_invitation(given: str, is_its: bool, tmp_path: Path) -> None:
    config = read(tmp_path, MINIMAL.replace("webhook:", "phones: {region: TR}\n    webhook:"))
    topics = MadeUpTopics(config)
    change = topics.change(case_id(1), START)
    id_, record = topics.invitation(change, case_id(1), None, START, phone="+905331234567", channel="sms")
    with closing(Index.temporary(config)) as index:
        put(index, [change, record, answered(topics, phone=given)])
        [line] = lines(tell(index, wanted(id_).all_ids(index.facts)))
    assert ("answered on" in line) is is_its


@pytest.mark.parametrize(
    ("body", "is_its"),
    [
        ({"external_id": "0035g00000XyZ12AAF"}, True),
        ({"phone": "+905331234567"}, True),
        ({"external_id": "0035g00000XyZ12AAF", "email": "d@acme.com"}, False),
    ],
)
def test_only_what_both_know_can_tell_that_an_answer_is_another_persons(
    body: dict[str, str], is_its: bool, topics: MadeUpTopics, index: Index, ask: Ask
) -> None:
    """The invitation knows an address and no contact."""
    change = topics.change(case_id(1), START)
    id_, record = topics.invitation(change, case_id(1), "c@acme.com", START)
    put(index, [change, record, answered(topics, **body)])
    [line] = lines(ask(id_))
    assert ("answered on" in line) is is_its


def test_of_a_contacts_several_addresses_an_answer_belongs_to_the_one_that_it_names(
    topics: MadeUpTopics, index: Index, ask: Ask
) -> None:
    owner = "0035g00000XyZ12AAF"
    change = topics.change(case_id(1), START)
    (home, first), (work, second) = (
        topics.invitation(change, case_id(1), f"{name}@acme.com", START, owner=owner) for name in ("home", "work")
    )
    put(index, [change, first, second, answered(topics, external_id=owner, email="home@acme.com")])
    assert {line.partition(":")[0]: "answered on" in line for line in lines(ask(owner))} == {
        f"invitation {home}": True,
        f"invitation {work}": False,
    }


def test_an_answer_before_the_invitation_is_not_its_answer(topics: MadeUpTopics, index: Index, ask: Ask) -> None:
    change = topics.change(case_id(1), START)
    id_, record = topics.invitation(change, case_id(1), "c@acme.com", START)
    put(index, [change, record, *topics.answer(case_id(1), "c@acme.com", START - HOUR)])
    assert [fact.kind for fact in ask(id_).facts] == [Kind.CHANGE, Kind.INVITATION]


def test_of_a_record_with_thousands_of_facts_the_newest_are_told_and_a_line_says_so(
    topics: MadeUpTopics, index: Index, ask: Ask
) -> None:
    changes = [topics.change(case_id(1), START + number * HOUR, transaction=f"{number}") for number in range(300)]
    put(index, changes)
    story = ask(case_id(1))
    assert [fact.offset for fact in story.facts] == [*range(100, 300)]
    assert story.cut == ["only the newest 200 facts of the kind change of the record 5005g0000000001 are told"]


def test_a_very_long_story_is_cut_and_says_so(topics: MadeUpTopics, index: Index, ask: Ask) -> None:
    records: list[InRecord] = []
    for number in range(200):
        at = START + number * HOUR
        records.append(topics.change(case_id(number), at))
        id_, record = topics.invitation(records[-1], case_id(number), "c@acme.com", at)
        records += [record, *topics.call(f"{number:032x}", {id_: case_id(number)}, at, outcome=Outcome.SENT)]
        records += topics.answer(case_id(number), "c@acme.com", at + timedelta(minutes=1), again=5)
    put(index, records)
    story = ask("c@acme.com")
    assert 1_000 < len(story.facts) < 5_000
    assert story.cut
