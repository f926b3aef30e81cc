"""Decoding of change events and platform events: bitmaps, merged events, diffs, compound fields and dates."""

import io
from collections.abc import Sequence
from typing import Any

import fastavro
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.errors import Rejected
from connector.salesforce import EventSchema, client_of, decode, decode_platform_event, parse_schema
from connector.salesforce.change_events import DecodedChange

TEXT = ["null", "string"]


def compound(name: str, *parts: str) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": [{"name": part, "type": TEXT, "default": None} for part in parts]}


def field(name: str, of: Any, doc: str = "Data:Text") -> dict[str, Any]:
    return {"name": name, "type": of, "doc": doc, "default": None}


CHANGE_TYPES = ["CREATE", "UPDATE", "DELETE", "UNDELETE", "GAP_CREATE", "GAP_UPDATE", "GAP_DELETE", "GAP_OVERFLOW"]
STRINGS = {"type": "array", "items": "string"}
HEADER_FIELDS: list[tuple[str, Any]] = [
    ("entityName", "string"),
    ("recordIds", STRINGS),
    ("changeType", {"type": "enum", "name": "ChangeType", "symbols": CHANGE_TYPES}),
    ("changeOrigin", "string"),
    ("transactionKey", "string"),
    ("sequenceNumber", "int"),
    ("commitTimestamp", "long"),
    ("commitNumber", "long"),
    ("commitUser", "string"),
    ("nulledFields", STRINGS),
    ("diffFields", STRINGS),
    ("changedFields", STRINGS),
]


def avro_schema(fields: Sequence[dict[str, Any]]) -> dict[str, Any]:
    header = {
        "type": "record",
        "name": "ChangeEventHeader",
        "fields": [{"name": name, "type": of} for name, of in HEADER_FIELDS],
    }
    return {
        "type": "record",
        "name": "AccountChangeEvent",
        "namespace": "com.sforce.eventbus",
        "fields": [{"name": "ChangeEventHeader", "type": header}, *fields],
    }


ACCOUNT = avro_schema(
    [
        field("Name", [*TEXT, compound("Switchable_PersonName", "Salutation", "FirstName", "LastName")]),  # 1
        field("Type", TEXT),
        field("ParentId", TEXT, "ForeignKey:EntityId"),
        field("BillingAddress", ["null", compound("Address", "Street", "City", "State")], "Data:Address"),  # 4
        field("ShippingAddress", ["null", "Address"], "Data:Address"),
        field("Site__c", ["null", compound("Location", "Latitude", "Longitude")], "Data:Location:00N000000000001"),
        field("Visit__c", ["null", "long"], "Data:DateOnly:00N000000000002"),  # 7
        field("LastModifiedDate", ["null", "long"], "LastModifiedDate:DateTime"),
        field("Revenue", ["null", "double"], "Data:Currency"),
        field("Counter__c", ["null", "long"], "Data:SomethingNew"),  # 10
        field("Description", TEXT, "Data:StringPlusClob"),
    ]
)
PLAIN = avro_schema([field(f"F{position}__c", TEXT) for position in range(1, 200)])


def event(
    schema: dict[str, Any] = ACCOUNT, change_type: str = "UPDATE", header: dict[str, Any] | None = None, **values: Any
) -> list[DecodedChange]:
    head = {
        "entityName": "Account",
        "recordIds": ["001000000000001AAA"],
        "changeType": change_type,
        "changeOrigin": "com/salesforce/api/rest/66.0;client=pisano-connector",
        "transactionKey": "0004-1",
        "sequenceNumber": 1,
        "commitTimestamp": 1_795_482_123_000,
        "commitNumber": 77,
        "commitUser": "005000000000001AAA",
        "nulledFields": [],
        "diffFields": [],
        "changedFields": [],
        **(header or {}),
    }
    return decode(encode(schema, {"ChangeEventHeader": head, **values}), parsed(schema))


def encode(schema: dict[str, Any], value: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), value)
    return out.getvalue()


def parsed(schema: dict[str, Any]) -> EventSchema:
    return parse_schema(orjson.dumps(schema).decode())


def bits(*positions: int) -> str:
    number = sum(1 << position for position in positions)
    return f"0x{number.to_bytes(number.bit_length() // 8 + 1, 'big').hex()}"


def test_update_holds_only_what_changed_with_null_where_nulled() -> None:
    """salesforce §0.8: only the bitmaps tell "set to null" from "unchanged"."""
    [change] = event(header={"changedFields": [bits(2, 9)], "nulledFields": [bits(3)]}, Type="Customer", Revenue=5.5)
    assert change.fields == {"Type": "Customer", "ParentId": None, "Revenue": 5.5}
    assert change.changed_fields == ("Type", "ParentId", "Revenue")
    assert change.nulled_fields == ("ParentId",)


@pytest.mark.parametrize(("double", "value"), [(5.0, 5), (-0.0, 0), (5.5, 5.5), (2.0**53, 2.0**53)])
def test_whole_number_is_an_int_if_the_double_holds_it(double: float, value: float) -> None:
    """salesforce §B1: numbers come as doubles, so that Number(18,0) has 5.0. From 2^53 on, digits are lost."""
    [change] = event(header={"changedFields": [bits(9)]}, Revenue=double)
    assert change.fields == {"Revenue": value}
    assert type(change.fields["Revenue"]) is type(value)


def test_bitmap_sample_of_the_contract_sets_bits_16_and_22() -> None:
    """salesforce §B2: `0x410000` is read as one big-endian number, bit 0 being the header."""
    [change] = event(PLAIN, header={"changedFields": ["0x410000"]}, F16__c="description", F22__c="modified")
    assert change.fields == {"F16__c": "description", "F22__c": "modified"}


def test_compound_bitmap_names_the_parts_as_rest_does() -> None:
    """salesforce §B2: `4-0x06` means City and State of the compound at position 4, and no top-level field."""
    [change] = event(header={"changedFields": ["4-0x06"]}, BillingAddress={"City": "Izmir"})
    assert change.fields == {"BillingCity": "Izmir", "BillingState": None}


def test_create_is_flattened_to_rest_names_with_all_fields() -> None:
    """salesforce §B1, §B2: named types are declared once; addresses, locations and dates become REST's values."""
    [change] = event(
        change_type="CREATE",
        Name="Umbrella",
        ShippingAddress={"City": "Ankara"},
        Site__c={"Latitude": "41.0"},
        Visit__c=1_795_478_400_000,
        LastModifiedDate=1_795_482_123_045,
        Counter__c=1_795_482_123_045,
    )
    assert change.changed_fields == ()
    assert change.fields == {
        "Name": "Umbrella",
        "Type": None,
        "ParentId": None,
        **{f"Billing{part}": None for part in ("Street", "City", "State")},
        "ShippingStreet": None,
        "ShippingCity": "Ankara",
        "ShippingState": None,
        "Site__Latitude__s": "41.0",
        "Site__Longitude__s": None,
        "Visit__c": "2026-11-24",
        "LastModifiedDate": "2026-11-24T01:02:03.045+0000",
        "Revenue": None,
        "Counter__c": 1_795_482_123_045,
        "Description": None,
    }


@pytest.mark.parametrize("kind", ["Time", "TimeOnly"])
@pytest.mark.parametrize(
    ("value", "time"),
    [(34_200_000, "09:30:00.000Z"), (0, "00:00:00.000Z"), (86_399_999, "23:59:59.999Z"), (86_400_000, 86_400_000)],
)
def test_a_time_of_day_is_written_as_rest_writes_it(kind: str, value: int, time: object) -> None:
    """A number that is no count of milliseconds since midnight stays as it is."""
    [change] = event(
        avro_schema([field("Opens__c", ["null", "long"], f"Data:{kind}:00N000000000004")]),
        header={"changedFields": [bits(1)]},
        Opens__c=value,
    )
    assert change.fields == {"Opens__c": time}


def test_account_name_is_a_text_for_a_business_and_parts_for_a_person() -> None:
    """salesforce §B1: the union of Account.Name has both branches."""
    [business] = event(header={"changedFields": [bits(1)]}, Name="Umbrella")
    [person] = event(header={"changedFields": ["1-0x06"]}, Name={"FirstName": "Ada", "LastName": "Byron"})
    assert business.fields == {"Name": "Umbrella"}
    assert person.fields == {"FirstName": "Ada", "LastName": "Byron"}


def test_whole_compound_bit_stands_for_all_parts() -> None:
    [change] = event(header={"nulledFields": [bits(4)]})
    assert change.nulled_fields == ("BillingStreet", "BillingCity", "BillingState")
    assert set(change.fields.values()) == {None}


def test_diff_is_never_a_value() -> None:
    """salesforce §0.6: a long text can arrive as a unified diff; writing it back as a value corrupts data."""
    diff = "--- \n+++ 00ff\n@@ -1 +1 @@\n-old\n+new"
    [change] = event(header={"changedFields": [bits(2, 11)], "diffFields": [bits(11)]}, Type="x", Description=diff)
    assert change.fields == {"Type": "x"}
    assert change.diff_fields == {"Description": diff}
    assert change.changed_fields == ("Type", "Description")


def test_merged_event_is_one_change_for_each_record() -> None:
    """salesforce §0.5: a merged event carries several record ids."""
    changes = event(header={"recordIds": ["001A", "001B", "001C"], "changedFields": [bits(2)]}, Type="x")
    assert [change.record_id for change in changes] == ["001A", "001B", "001C"]
    assert [change.fields for change in changes] == [{"Type": "x"}] * 3


@pytest.mark.parametrize("change_type", ["DELETE", "GAP_UPDATE", "GAP_OVERFLOW"])
def test_delete_and_gap_hold_no_fields(change_type: str) -> None:
    """salesforce §B3, §B4: every field in such an event is null, but the record's fields are not."""
    [change] = event(change_type=change_type)
    assert (change.fields, change.changed_fields, change.change_type) == ({}, (), change_type)


def test_header_is_passed_on() -> None:
    [change] = event(header={"changedFields": [bits(2)]})
    assert (change.entity, change.commit_timestamp, change.commit_number) == ("Account", 1_795_482_123_000, 77)
    assert (change.transaction_key, change.sequence_number) == ("0004-1", 1)
    assert change.commit_user == "005000000000001AAA"


@given(
    changed=st.sets(st.integers(1, 199)), nulled=st.sets(st.integers(1, 199)), text=st.text(max_size=5), data=st.data()
)
def test_any_set_of_fields_survives_its_bitmaps(
    changed: set[int], nulled: set[int], text: str, data: st.DataObject
) -> None:
    """salesforce §B2: decoding returns all fields in the bitmaps, whether or not changedFields names nulled fields."""
    also_marked = data.draw(st.sets(st.sampled_from(sorted(nulled)))) if nulled else set()
    [change] = event(
        PLAIN,
        header={"changedFields": [bits(*changed - nulled, *also_marked)], "nulledFields": [bits(*nulled)]},
        **{f"F{position}__c": text for position in changed - nulled},
    )
    expected = {f"F{p}__c": None if p in nulled else text for p in sorted(changed | nulled)}
    assert change.fields == expected
    assert change.changed_fields == tuple(expected)
    assert set(change.nulled_fields) == {f"F{position}__c" for position in nulled}


@given(st.binary(max_size=120))
def test_no_bytes_can_do_worse_than_be_rejected(payload: bytes) -> None:
    """Unreadable bytes raise Rejected, so that the event becomes a dead letter; no other error escapes."""
    try:
        decode(payload, parsed(ACCOUNT))
    except Rejected as error:
        assert error.code == "undecodable"  # noqa: PT017 - most inputs are rejected, a few are events


def test_left_over_bytes_mean_the_wrong_schema() -> None:
    with pytest.raises(Rejected, match="left over"):
        decode(encode(PLAIN, {"ChangeEventHeader": HEADER_VALUE}) + b"\0", parsed(PLAIN))


HEADER_VALUE: dict[str, Any] = {
    name: {"string": "", "int": 0, "long": 0}.get(of, []) if isinstance(of, str) else [] for name, of in HEADER_FIELDS
} | {"changeType": "DELETE"}


def test_event_without_record_ids_is_rejected_not_dropped() -> None:
    with pytest.raises(Rejected, match="record ids"):
        decode(encode(PLAIN, {"ChangeEventHeader": HEADER_VALUE}), parsed(PLAIN))


@pytest.mark.parametrize("bitmap", ["0x" + "80" * 40, "4-0x80", "99-0x01", "Status"])
def test_bitmap_that_does_not_fit_its_schema_is_rejected(bitmap: str) -> None:
    with pytest.raises(Rejected, match="bitmap"):
        event(header={"changedFields": [bitmap]})


def test_unreadable_schema_is_rejected() -> None:
    with pytest.raises(Rejected, match="Avro schema"):
        parse_schema('{"type": "recrd", "name": "X"}')


def test_platform_event_gives_fields_and_its_own_metadata() -> None:
    schema = {
        "type": "record",
        "name": "Store_Visit__e",
        "namespace": "com.sforce.eventbus",
        "fields": [
            {"name": "CreatedDate", "type": "long", "doc": "CreatedDate:DateTime"},
            {"name": "CreatedById", "type": "string", "doc": "CreatedBy:EntityId"},
            field("Store__c", TEXT, "Data:Text:00N000000000003"),
            field("EventUuid", TEXT, "Data:Text"),
        ],
    }
    values = {"CreatedDate": 1_795_482_123_000, "CreatedById": "005A", "Store__c": "17", "EventUuid": "e-1"}
    visit = decode_platform_event(encode(schema, values), parsed(schema))
    assert (visit.entity, visit.created_date, visit.created_by_id) == ("Store_Visit__e", 1_795_482_123_000, "005A")
    assert visit.event_uuid == "e-1"
    assert visit.fields == values | {"CreatedDate": "2026-11-24T01:02:03.000+0000"}


@pytest.mark.parametrize(
    ("origin", "client"),
    [
        ("com/salesforce/api/rest/66.0;client=pisano-connector", "pisano-connector"),
        ("com/salesforce/api/soap/58.0;client=SfdcInternalAPI/", "SfdcInternalAPI/"),
        ("com/salesforce/api/rest/66.0", None),
        ("", None),
    ],
)
def test_client_of_a_change_is_what_its_call_named(origin: str, client: str | None) -> None:
    """salesforce §0.9."""
    assert client_of(origin) == client
