"""`connector preview`: shows a survey's decision for a file, a record of Salesforce or a kept event; sends nothing."""

import json
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from helpers import topics
from helpers.change_events import as_records, change
from helpers.commands import connector
from helpers.service import Setup, set_up

from connector.decisions import Suppression
from connector.kafka.cloud_events import OutRecord
from connector.sandbox.doubles.salesforce import SalesforceDouble

_SURVEYS: dict[str, Any] = {
    "closed-case": {
        "on": "Case",
        "when": 'changed contains "Status" and record.Status == "Closed"',
        "lookup": {
            "contact": {"object": "Contact", "id": "{{ record.ContactId }}", "fields": ["Email", "HasOptedOutOfEmail"]},
            "owner": {"object": "User", "id": "{{ record.OwnerId }}", "fields": ["Name"]},
        },
        "account": "main",
        "campaign": "4711",
        "email": "{{ contact.Email }}",
        "built_in_responses": {"branch_id": "{{ record.Branch__c }}", "agent_name": "{{ owner.Name }}"},
        "protect": {"opted_out": "{{ contact.HasOptedOutOfEmail }}"},
    },
    "escalated-case": {
        "on": "Case",
        "when": 'changed contains "Status" and record.Status == "Escalated"',
        "account": "main",
        "campaign": "4712",
        "email": "{{ record.SuppliedEmail }}",
    },
}


@pytest.fixture
async def setup(tmp_path: Path, bootstrap_servers: str, unique: str, sf: SalesforceDouble) -> Setup:
    return await set_up(tmp_path, bootstrap_servers, unique, salesforce=sf, surveys=_SURVEYS)


async def preview(setup: Setup, *arguments: str) -> subprocess.CompletedProcess[str]:
    return await connector(setup.environ, "preview", "closed-case", str(setup.file), *arguments)


async def found(setup: Setup, *arguments: str) -> Any:
    ended = await preview(setup, *arguments, "--json")
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def a_file(folder: Path, content: object) -> str:
    path = folder / "change.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def a_case(sf: SalesforceDouble, contact: Mapping[str, Any]) -> str:
    who = {"FirstName": "Ada", "LastName": "Byron", "Email": "ada@acme.com", **contact}
    return sf.create("Case", {"ContactId": sf.create("Contact", who), "Status": "Closed", "Branch__c": "Izmir"})


async def test_a_record_of_salesforce_is_decided_as_if_its_fields_had_just_changed(
    setup: Setup, sf: SalesforceDouble
) -> None:
    case = a_case(sf, {})
    told = await found(setup, "--id", case)
    assert [(part["text"], part["holds"]) for part in told["conditions"]] == [
        ('changed contains "Status"', True),
        ('record.Status == "Closed"', True),
    ]
    assert [reading["object"] for reading in told["readings"]] == ["Contact", "User"]
    [ready] = told["invitations"]
    assert ready["body"]["emails"] == ["ada@acme.com"]
    assert ready["body"]["built_in_responses"]["ada@acme.com"]["branch_id"] == "Izmir"
    assert ready["protection"] == "nothing holds it: it would be sent with the next call"
    told = await found(setup, "--id", case, "--changed", "Subject")
    assert [part["holds"] for part in told["conditions"]] == [False, True]
    assert told["invitations"] == []
    told = await found(setup, "--id", case, "--changed", "Subject, Status")
    assert [part["holds"] for part in told["conditions"]] == [True, True]
    wrong = await preview(setup, "--id", case, "--changed", "Subject,,Status")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    assert wrong.stderr.startswith("connector: --changed: not the name of a Salesforce object or field: ''")


async def test_it_says_what_the_contact_protection_holds(setup: Setup, sf: SalesforceDouble) -> None:
    case = a_case(sf, {})
    listed = Suppression(email="ada@acme.com", by="the shop", why="asked for it", at=datetime.now(UTC))
    key = b"email/ada@acme.com"
    topic = f"{setup.kafka.topic_prefix}pisano.suppressions"
    await topics.publish(setup.kafka, [OutRecord(topic, key, listed.model_dump_json().encode(), [])])
    [ready] = (await found(setup, "--id", case))["invitations"]
    assert ready["protection"].startswith("not sent: suppressed (on_suppression_list)")


async def test_a_kept_event_is_decided_again(setup: Setup, sf: SalesforceDouble) -> None:
    case = a_case(sf, {"HasOptedOutOfEmail": True})
    await topics.publish(setup.kafka, as_records(setup.kafka, [change(case, {"Status": "Closed"})]))
    [record] = await topics.read(setup.kafka, "salesforce.cdc.Case")
    told = await found(setup, "--event", f"{record.partition}/{record.offset}")
    [ready] = told["invitations"]
    assert (ready["invitation"]["suppressed"], ready["body"]) == ("opted_out", None)
    ended = await preview(setup, "--event", f"{record.partition}/{record.offset + 7}")
    assert ended.returncode == 2
    assert "holds the offsets 0 to 0 now, and not 7" in ended.stderr


async def test_a_file_with_its_lookups_needs_no_salesforce(tmp_path: Path, bootstrap_servers: str, unique: str) -> None:
    setup = await set_up(tmp_path, bootstrap_servers, unique, surveys=_SURVEYS)  # nobody answers at its Salesforce
    contact = {"Email": "ada@acme.com; bob@acme.com", "HasOptedOutOfEmail": False}
    record = {"Id": "5005g0000000001AAA", "Status": "Closed", "ContactId": "x", "OwnerId": None, "Branch__c": None}
    whole = {"record": record, "changed": ["Status"], "lookups": {"contact": contact, "owner": {"Name": "Eve"}}}
    told = await found(setup, "--record", a_file(tmp_path, whole))
    assert [ready["body"]["emails"] for ready in told["invitations"]] == [["ada@acme.com"], ["bob@acme.com"]]
    assert told["readings"] == []
    ended = await preview(setup, "--record", a_file(tmp_path, {**whole, "changed": ["Subject"]}))
    assert "✗ changed contains \"Status\"   changed is ['Subject']" in ended.stdout
    assert "no invitation: the condition does not hold" in ended.stdout


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "holds no JSON object"),
        ({"record": []}, "`record` is no JSON object"),
        ({"record": {}, "lookup": {}}, "has lookup beside `record`"),
        ({"record": {}, "lookups": {"contakt": {}}}, "the survey has no lookup contakt; it has contact, owner"),
        ({"record": {}, "changed": "Status"}, "`changed` is a list of field names"),
        ({"record": {}, "event": ["x"]}, "`event` is no JSON object, such as {"),
        pytest.param(f'{{"Status": {"[" * 199}{"]" * 199}}}', "nested deeper than 200 levels", id="deep"),
        ({"entity": "Case", "change_type": "UPDATE"}, "not a readable ChangeEvent"),
    ],
)
async def test_a_file_that_is_no_change_says_why(
    content: object, message: str, tmp_path: Path, bootstrap_servers: str, unique: str
) -> None:
    setup = await set_up(tmp_path, bootstrap_servers, unique, surveys=_SURVEYS)
    ended = await preview(setup, "--record", a_file(tmp_path, content))
    assert ended.returncode == 2
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr


async def test_a_forecast_counts_who_would_have_been_invited_and_why_others_not(
    setup: Setup, sf: SalesforceDouble
) -> None:
    invited, out = [a_case(sf, {"Email": f"a{n}@acme.com"}) for n in range(3)], a_case(sf, {"HasOptedOutOfEmail": True})
    wanted = [change(case, {"Status": "Closed"}) for case in (*invited, out)]
    others = [change(case, {"Subject": "x"}, transaction_key="2") for case in invited]
    await topics.publish(setup.kafka, as_records(setup.kafka, [*wanted, *others]))
    too_long = await preview(setup, "--since", "999999d")
    assert (too_long.returncode, too_long.stderr) == (2, "connector: --since: date value out of range\n")
    told = await found(setup, "--since", "1h")
    closed, escalated = told["surveys"]
    assert (closed["events"], closed["invited"], closed["not_invited"]) == (4, 3, {"opted_out": 1})
    assert (escalated["events"], escalated["invited"]) == (0, 0)
    assert told["accounts"][0]["invitations"] == 3
    ended = await preview(setup, "--since", "soon")
    assert (ended.returncode, "a duration is a number with a unit" in ended.stderr) == (2, True)
