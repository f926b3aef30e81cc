"""Checks the Salesforce double's change events against contracts/salesforce.md §B, decoded with their own schemas."""

import hashlib

from salesforce_wire import CASES, PubSub, named

from connector.sandbox.doubles.salesforce import Channel, SalesforceDouble

CONTACTS = "/data/ContactChangeEvent"


async def test_the_schema_looks_like_a_real_one(sf: SalesforceDouble, api: PubSub) -> None:
    """salesforce §B1, §B3: the header is first, every other field is a nullable union with its type in `doc`, and there
    are no formulas.
    """
    sf.create("Case", {})
    (event,) = await api.subscribe().take(1)
    schema = await api.schema(event.event.schema_id)
    header, *fields = schema["fields"]
    assert (schema["name"], schema["namespace"]) == ("CaseChangeEvent", "com.sforce.eventbus")
    assert header["name"] == "ChangeEventHeader"
    assert len(fields) > 40
    assert all(field["type"][0] == "null" and field["default"] is None and field["doc"] for field in fields)
    docs = {field["name"]: field["doc"] for field in fields}
    assert docs["Branch__c"].startswith("Data:Text:00N")
    assert docs["ContactId"] == "ForeignKey:EntityId"
    assert docs.keys().isdisjoint({"Branch_Label__c", "SystemModstamp", "IsDeleted", "Id"})


async def test_a_compound_type_is_declared_once(sf: SalesforceDouble, api: PubSub) -> None:
    """salesforce §B1."""
    sf.create("Contact", {"LastName": "Doe"})
    (event,) = await api.subscribe(CONTACTS).take(1)
    types = {field["name"]: field["type"] for field in (await api.schema(event.event.schema_id))["fields"]}
    assert types["MailingAddress"][1]["name"] == "Address"
    assert types["OtherAddress"] == ["null", "Address"]
    assert types["Name"][1]["name"] == "PersonName"


async def test_create_carries_all_fields_and_empty_bitmaps(sf: SalesforceDouble, api: PubSub) -> None:
    """salesforce §B1, §B3: dates are epoch milliseconds; commit times are whole seconds."""
    case = sf.create("Case", {"Subject": "Late", "Purchase_Date__c": "2026-11-24", "NPS__c": 9})
    (event,) = await api.events()
    header = event["ChangeEventHeader"]
    assert (header["changeType"], header["recordIds"], header["entityName"]) == ("CREATE", [case], "Case")
    assert (header["changedFields"], header["nulledFields"], header["diffFields"]) == ([], [], [])
    assert header["commitTimestamp"] == 1_795_500_000_000
    assert header["changeOrigin"] == ""
    assert header["sequenceNumber"] == 1
    assert (event["Status"], event["NPS__c"], event["IsEscalated"]) == ("New", 9.0, False)
    assert event["Purchase_Date__c"] == 1_795_478_400_000
    assert len(case) == 18
    assert case.startswith("500")


async def test_update_carries_only_what_changed(sf: SalesforceDouble, api: PubSub) -> None:
    """salesforce §0.8, §B2, §B3: only the bitmaps tell "set to null" from "unchanged"."""
    case = sf.create("Case", {"Subject": "Late", "Reason": "Other"})
    sf.update("Case", case, {"Status": "Closed", "Reason": None})
    (event,) = await api.subscribe(preset="CUSTOM", replay_id=(await api.subscribe().take(1))[0].replay_id).take(1)
    decoded, schema = await api.decode(event), await api.schema(event.event.schema_id)
    header = decoded.pop("ChangeEventHeader")
    assert named(schema, header["changedFields"]) == {"Status", "Reason", "IsClosed", "ClosedDate", "LastModifiedDate"}
    assert named(schema, header["nulledFields"]) == {"Reason"}
    held = {name for name, value in decoded.items() if value is not None}
    assert held == {"Status", "IsClosed", "ClosedDate", "LastModifiedDate"}


async def test_parts_of_compounds_have_bitmaps_of_their_own(sf: SalesforceDouble, api: PubSub) -> None:
    """salesforce §B2: `N-0x…` marks the changed parts of the compound at position N."""
    contact = sf.create("Contact", {"FirstName": "Jane", "LastName": "Doe", "MailingCity": "Izmir"})
    sf.update("Contact", contact, {"FirstName": "Janet", "MailingState": "Ege", "MailingCity": None})
    _, event = await api.subscribe(CONTACTS).take(2)
    decoded, schema = await api.decode(event), await api.schema(event.event.schema_id)
    header = decoded["ChangeEventHeader"]
    address = [field["name"] for field in schema["fields"]].index("MailingAddress")
    assert f"{address}-0x06" in header["changedFields"]
    assert named(schema, header["changedFields"]) == {
        "Name.FirstName",
        "MailingAddress.City",
        "MailingAddress.State",
        "LastModifiedDate",
    }
    assert named(schema, header["nulledFields"]) == {"MailingAddress.City"}
    assert (decoded["Name"]["FirstName"], decoded["Name"]["LastName"]) == ("Janet", None)


async def test_the_name_of_an_account_is_a_text_or_a_person(sf: SalesforceDouble, api: PubSub) -> None:
    """salesforce §B1: business accounts send a string, person accounts a record."""
    sf.create("Account", {"Name": "Acme"})
    sf.create("Account", {"FirstName": "Jane", "LastName": "Doe"})
    business, person = await api.events("/data/AccountChangeEvent", 2)
    assert business["Name"] == "Acme"
    assert person["Name"]["LastName"] == "Doe"


async def test_delete_carries_ids_only_and_undelete_everything(sf: SalesforceDouble, api: PubSub) -> None:
    """salesforce §B3."""
    case = sf.create("Case", {"Subject": "Late"})
    sf.delete("Case", case)
    sf.undelete("Case", case)
    _, deleted, back = await api.events(count=3)
    assert deleted.pop("ChangeEventHeader")["changeType"] == "DELETE"
    assert not any(deleted.values())
    assert (back["ChangeEventHeader"]["changeType"], back["Subject"]) == ("UNDELETE", "Late")


async def test_the_same_change_to_several_records_is_one_merged_event(sf: SalesforceDouble, api: PubSub) -> None:
    """salesforce §0.5."""
    cases = [sf.create("Case", {}) for _ in range(3)]
    sf.update("Case", cases, {"Priority": "High"})
    event = (await api.events(count=4))[-1]
    assert event["ChangeEventHeader"]["recordIds"] == cases


async def test_a_transaction_gives_each_record_one_event_with_its_final_state(
    sf: SalesforceDouble, api: PubSub
) -> None:
    """salesforce §B1, §B3: one transactionKey; sequence numbers have gaps for objects that are not captured."""
    with sf.transaction() as changes:
        first = changes.create("Case", {"Subject": "one"})
        changes.create("User", {"LastName": "New", "Username": "new@example.com", "Email": "new@example.com"})
        changes.create("Case", {"Subject": "two"})
        changes.update("Case", first, {"Subject": "final"})
    one, two = await api.events(count=2)
    headers = [event["ChangeEventHeader"] for event in (one, two)]
    assert (one["Subject"], headers[0]["changeType"]) == ("final", "CREATE")
    assert headers[0]["transactionKey"] == headers[1]["transactionKey"]
    assert [header["sequenceNumber"] for header in headers] == [1, 3]


async def test_a_long_text_arrives_as_a_diff(sf: SalesforceDouble, api: PubSub) -> None:
    """salesforce §0.6, §B3: the event holds no value but a unified diff, which names the SHA-256 of the old value."""
    before = "\n".join(f"line {number} of a long description" for number in range(60))
    case = sf.create("Case", {"Description": before})
    sf.update("Case", case, {"Description": before.replace("line 7 of", "line seven of")})
    _, event = await api.subscribe().take(2)
    decoded, schema = await api.decode(event), await api.schema(event.event.schema_id)
    assert named(schema, decoded["ChangeEventHeader"]["diffFields"]) == {"Description"}
    start, digest, *_ = decoded["Description"].split("\n")
    assert (start, digest) == ("--- ", f"+++ {hashlib.sha256(before.encode()).hexdigest()}")
    assert "\n-line 7 of a long description\n+line seven of" in decoded["Description"]


async def test_gap_wildcard_and_overflow_events_hold_no_fields(sf: SalesforceDouble, api: PubSub) -> None:
    """salesforce §0.5, §B4."""
    case = sf.create("Case", {"Subject": "Late"})
    sf.gap("Case", [case], fields={"Subject": "Changed unseen"})
    sf.gap("Case", ["500*"])
    sf.gap("Case", change_type="GAP_OVERFLOW")
    found = (await api.events(count=4))[1:]
    headers = [event.pop("ChangeEventHeader") for event in found]
    assert [(h["changeType"], h["recordIds"]) for h in headers] == [
        ("GAP_UPDATE", [case]),
        ("GAP_UPDATE", ["500*"]),
        ("GAP_OVERFLOW", ["000000000000000AAA"]),
    ]
    assert not any(value for event in found for value in event.values())
    assert sf.record("Case", case)["Subject"] == "Changed unseen"


async def test_a_changed_object_has_a_new_schema_whose_positions_moved(sf: SalesforceDouble, api: PubSub) -> None:
    """salesforce §A2, §B5: one stream has old and new schema ids, and each event decodes with its own schema."""
    case = sf.create("Case", {})
    new = sf.add_field("Case", "Floor__c text(20)")
    sf.configure(interleave_schemas=True)
    for number in range(6):
        sf.update("Case", case, {"Subject": str(number)})
    events = await api.subscribe().take(7)
    assert {event.event.schema_id for event in events[1:]} == {new, events[0].event.schema_id}
    bitmaps = set()
    for event in events[1:]:
        header = (await api.decode(event))["ChangeEventHeader"]
        bitmaps.add(tuple(header["changedFields"]))
        names = named(await api.schema(event.event.schema_id), header["changedFields"])
        assert names == {"Subject", "LastModifiedDate"}
    assert len(bitmaps) == 2


async def test_an_enriched_channel_takes_merged_events_apart_under_one_replay_id(
    sf: SalesforceDouble, api: PubSub
) -> None:
    """salesforce §0.7, §B5: enriched fields have the values at the time of delivery."""
    sf.add_channel("Care__chn", Channel(entities=("Case",), enriched={"Case": ("Branch__c",)}))
    cases = [sf.create("Case", {"Branch__c": f"B{number}"}) for number in range(3)]
    sf.update("Case", cases, {"Priority": "High"})
    events = await api.subscribe("/data/Care__chn").take(6)
    merged = [await api.decode(event) for event in events[3:]]
    assert len({event.replay_id for event in events[3:]}) == 1
    assert [event["ChangeEventHeader"]["recordIds"] for event in merged] == [[case] for case in cases]
    assert [event["Branch__c"] for event in merged] == ["B0", "B1", "B2"]


async def test_a_channel_of_all_entities_and_the_name_of_a_custom_one(sf: SalesforceDouble, api: PubSub) -> None:
    """salesforce §B5."""
    sf.create("Case", {})
    sf.create("Survey_Response__c", {"Pisano_Id__c": "p-1"})
    both = await api.events("/data/ChangeEvents", 2)
    assert [event["ChangeEventHeader"]["entityName"] for event in both] == ["Case", "Survey_Response__c"]
    assert len(await api.events("/data/Survey_Response__ChangeEvent")) == 1
    assert len(await api.events(CASES)) == 1


async def test_a_platform_event(sf: SalesforceDouble, api: PubSub) -> None:
    """salesforce §A5: its EventUuid identifies it."""
    event_id = sf.publish("Store_Visit__e", {"Store__c": "Izmir", "Consent__c": True})
    (event,) = await api.subscribe("/event/Store_Visit__e").take(1)
    decoded = await api.decode(event)
    assert event.event.id == event_id
    assert (decoded["Store__c"], decoded["Consent__c"], decoded["Email__c"]) == ("Izmir", True, None)
    assert decoded["CreatedDate"] == 1_795_500_000_000


async def test_a_geolocation_is_a_compound_with_parts_of_its_own(sf: SalesforceDouble, api: PubSub) -> None:
    """salesforce §B2: Branch_Location__c holds REST's Branch_Location__Latitude__s and …__Longitude__s."""
    case = sf.create("Case", {"Branch_Location__Latitude__s": 41.0, "Branch_Location__Longitude__s": 29.0})
    sf.update("Case", case, {"Branch_Location__Latitude__s": 38.4})
    _, event = await api.subscribe().take(2)
    decoded, schema = await api.decode(event), await api.schema(event.event.schema_id)
    assert decoded["Branch_Location__c"] == {"Latitude": 38.4, "Longitude": None}
    changed = named(schema, decoded["ChangeEventHeader"]["changedFields"])
    assert changed == {"Branch_Location__c.Latitude", "LastModifiedDate"}
    assert sf.record("Case", case)["Branch_Location__c"] == {"latitude": 38.4, "longitude": 29.0}
