"""Which records name a person, and whom an erasure stops."""

import io

import fastavro
import pytest
from helpers.invitations import invitation
from helpers.protection import protection, survey

from connector.decisions import Suppression
from connector.kafka.inbound import InRecord
from connector.operate import suppressions
from connector.operate.mentions import Mentions
from connector.operate.person import person_of
from connector.protection import Go, Hashes, Stop, suppression_key
from connector.reasons import Reason
from connector.records import Protection

HASHES = Hashes("a made-up key")
CONTACT = "0035g00000XyZ12AAF"


def names(whom: str, text: str) -> bool:
    record = InRecord("topic", 0, 0, None, text.encode(), (), 0.0)
    return Mentions(person_of(whom), HASHES).in_record(record)


@pytest.mark.parametrize(
    ("text", "is_named"),
    [
        ('{"email": "Ada@Example.com"}', True),
        ('{"text": "write to\\nada@example.com."}', True),
        ('{"by": {"ada@example.com": 1}}', True),
        ("from <ada@example.com>, no JSON", True),
        ('{"email": "ada\\u0040example.com"}', True),
        ("email=ada%40example.com&score=3", True),
        ("'ada@example.com'", True),
        ('{"email": "xada@example.com"}', False),
        ('{"email": "o\'ada@example.com"}', False),
        ('{"email": "x+ada@example.com"}', False),
        ('{"email": "ada@example.com.tr"}', False),
        ('{"email": "ada@example.community"}', False),
        ('{"email": "ada@exampleXcom"}', False),
    ],
)
def test_an_address_is_found_as_a_whole_wherever_it_is(text: str, is_named: bool) -> None:
    assert names("ada@example.com", text) is is_named


@pytest.mark.parametrize(
    ("whom", "text", "is_named"),
    [
        (CONTACT, '{"ContactId": "0035g00000XyZ12AAF"}', True),
        (CONTACT, '{"ContactId": "0035g00000XyZ12"}', True),
        (CONTACT, '{"ContactId": "0035g00000xyz12AAA"}', False),  # capitals count in an id of 15
        (CONTACT, '{"ContactId": "0035g00000XyZ123"}', False),
        ("+905330000000", '{"phone": "+905330000000"}', True),
        ("+905330000000", '{"phone": 905330000000}', True),
        ("+905330000000", '{"phone": "00905330000000"}', True),
        ("+905330000000", '{"phone": "+9053300000001"}', False),
        ("+905330000000", '{"phone": "1905330000000"}', False),
    ],
)
def test_contacts_and_phone_numbers_are_found_as_a_whole(whom: str, text: str, is_named: bool) -> None:
    assert names(whom, text) is is_named


@pytest.mark.parametrize("whom", ["ada@example.com", "+905330000000", CONTACT])
def test_in_avro_a_person_is_found_whatever_the_length_says(whom: str) -> None:
    """As capture's dead letters hold it: the length of a text is the byte before it, which may be a letter."""
    schema = {"type": "record", "name": "E", "fields": [{"name": n, "type": ["null", "string"]} for n in ("a", "b")]}
    text = f"{'a' * 70}{whom}" if "@" in whom else whom
    for length in range(len(whom), len(text) + 1):
        written = io.BytesIO()
        fastavro.schemaless_writer(written, schema, {"a": "Closed", "b": text[-length:]})
        record = InRecord("topic", 0, 0, None, written.getvalue(), (), 0.0)
        assert Mentions(person_of(text[-length:]), HASHES).in_record(record), length


@pytest.mark.parametrize("whom", ["ada@example.com", CONTACT])
def test_a_body_that_is_cut_is_searched_also_behind_an_escape(whom: str) -> None:
    assert names(whom, f'{{"comment": "write me:\\n{whom}')


def test_a_hash_in_a_key_or_a_header_names_the_person() -> None:
    (person,) = HASHES.persons(None, "ada@example.com")
    mentions = Mentions(person_of("ADA@example.com"), HASHES)
    assert mentions.in_record(InRecord("topic", 0, 0, f"{person}/main".encode(), b"{}", (), 0.0))
    assert mentions.in_record(InRecord("topic", 0, 0, None, b"{}", (("name", b"ada@example.com"),), 0.0))
    assert not mentions.in_record(InRecord("topic", 0, 0, b"email/xada@example.com", b"{}", (), 0.0))


def test_a_contact_that_is_no_id_of_salesforce_is_not_looked_for_in_texts() -> None:
    invitations = [invitation(1, protection=Protection(contact=contact)) for contact in ("9", "C-17(4")]
    person = person_of("ada@example.com").with_(invitations)
    mentions = Mentions(person, HASHES)
    assert not mentions.in_text(b'{"nps_score": 9, "contact": "C-17(4"}')
    assert mentions.in_text(f'{{"person": "{HASHES.persons("9", None)[0]}"}}'.encode())


def test_an_address_in_other_alphabets_is_found_in_any_capitals() -> None:
    assert names("\u00e4da@example.com", '{"email": "\u00c4DA@example.com"}')


def test_an_entry_of_an_erased_person_is_named_as_the_list_shows_it() -> None:
    one = suppressions.entry(f"person/{'a' * 32}", by="dpo")
    assert (one.person, one.contact, one.whom) == ("a" * 32, None, f"person/{'a' * 32}")


def test_who_was_erased_is_never_invited_by_any_address_or_contact_until_the_entry_is_removed() -> None:
    known = protection({"hash_key": "a made-up key"}, a=survey())
    mine = [
        invitation(1, survey="a", email="Ada@Example.com"),
        invitation(2, survey="a", email="new@example.com", protection=Protection(contact=CONTACT[:15])),
    ]
    other = invitation(3, survey="a", email="xada@example.com")
    keys = [
        suppression_key(None, None, None, person)
        for person in (*HASHES.persons(None, "ada@example.com"), *HASHES.persons(CONTACT, None))
    ]

    def verdicts() -> list[Reason | None]:
        found = [known.policy.verdict(one, known.known("main"), one.created_at, by_hand=True) for one in (*mine, other)]
        return [one.reason if isinstance(one, Stop) else None for one in found if isinstance(one, Go | Stop)]

    assert verdicts() == [None] * 3
    for key in keys:
        entry = Suppression(person=key.partition("/")[2], by="dpo", at=other.created_at)
        known.people.listed(key.encode(), entry.model_dump_json().encode())
    assert verdicts() == [Reason.ERASED, Reason.ERASED, None]
    for key in keys:
        known.people.listed(key.encode(), None)
    assert verdicts() == [None] * 3
