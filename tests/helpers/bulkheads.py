"""Three accounts, surveys and feedback rules alike, the third of which cannot work until somebody mends it.

The third account has a wrong secret. The third survey and the third rule name a field that the org does not have;
`mend` adds both fields and makes the wrong secret the right one.
"""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from connector.config import Kafka
from connector.kafka.cloud_events import OutRecord, to_record
from connector.records import Feedback, digest
from connector.sandbox.doubles.pisano import PisanoDouble
from connector.sandbox.doubles.salesforce import SalesforceDouble
from helpers.change_events import as_records as as_events
from helpers.change_events import change
from helpers.invitations import CAMPAIGN, KEYS, as_records, invitation
from helpers.service import EXAMPLE, Setup, set_up

NAMES = ("one", "two", "three")
HEALTHY, THIRD = NAMES[:2], NAMES[2]
_WRONG = "a-wrong-secret"
HELD = {"trigger": f"trigger/{THIRD}", "send": f"send/{THIRD}", "write": f"write/{THIRD}"}


async def three_of_each(
    folder: Path,
    bootstrap_servers: str,
    prefix: str,
    *,
    salesforce: SalesforceDouble,
    pisanos: Mapping[str, PisanoDouble],
    at_fault: Collection[str] = (),
) -> Setup:
    """`at_fault` names the stages whose third part cannot work: trigger, send, write."""
    for pisano in pisanos.values():
        pisano.add_campaign(CAMPAIGN, KEYS)
    secrets = {
        name: _WRONG if name == THIRD and "send" in at_fault else each.app_secret for name, each in pisanos.items()
    }
    account = yaml.safe_load(EXAMPLE.read_text())["pisano"]["main"]
    accounts = {
        name: {
            **account,
            "base_url": each.base_url,
            "auth": {"method": "authorized_app", "client_id": each.app_id, "client_secret": secrets[name]},
            "limits": ["1000000/1s"],
            "webhook": {**account["webhook"], "path": f"/pisano/{name}"},
        }
        for name, each in pisanos.items()
    }
    return await set_up(
        folder,
        bootstrap_servers,
        prefix,
        salesforce=salesforce,
        accounts=accounts,
        surveys={name: _survey(name, "trigger" in at_fault and name == THIRD) for name in NAMES},
        feedback={name: _rule(name, "write" in at_fault and name == THIRD) for name in NAMES},
    )


def _survey(name: str, at_fault: bool) -> dict[str, Any]:
    hidden = {"custom_attributes": {"hidden": "{{ contact.Hidden__c }}"}} if at_fault else {}
    fields = ["Email", "Hidden__c"] if at_fault else ["Email"]
    return {
        "on": "Case",
        "account": name,
        "campaign": CAMPAIGN,
        "lookup": {"contact": {"object": "Contact", "id": "{{ record.ContactId }}", "fields": fields}},
        "email": "{{ contact.Email }}",
        "built_in_responses": {"sf_ref_id": "{{ record.Id }}"},
        **hidden,
    }


def _rule(name: str, at_fault: bool) -> dict[str, Any]:
    return {
        "upsert": "Survey_Response__c",
        "by": {"Pisano_Id__c": "{{ feedback.id }}-" + name},
        "fields": {"Score__c": "{{ body.nps_score }}", **({"Hidden__c": "hidden"} if at_fault else {})},
    }


def mend(salesforce: SalesforceDouble, pisano: PisanoDouble) -> None:
    """What a person would do. `pisano` is the third account's."""
    for entity in ("Contact", "Survey_Response__c"):
        salesforce.add_field(entity, "Hidden__c text(10)")
    pisano.app_secret = _WRONG


def change_event(kafka: Kafka, number: int, contact: str) -> OutRecord:
    """A closed case's, with all that the surveys ask of the case."""
    case = f"5005g{number:010d}AAA"
    fields = {"Status": "Closed", "ContactId": contact}
    event = change(case, fields, transaction_key=f"t{number}", committed_at=datetime.now(UTC))  # an old one expires
    return as_events(kafka, [event])[0]


def invited(kafka: Kafka, number: int, account: str) -> OutRecord:
    """An invitation for a customer of the account, young enough to be sent without a look at its record."""
    made = invitation(
        number,
        id=digest("made up", account, str(number)),
        account=account,
        survey=account,
        created_at=datetime.now(UTC),
    )
    return as_records(kafka, [made])[0]


def answer(kafka: Kafka, number: int) -> OutRecord:
    """A feedback that each rule applies to."""
    feedback = Feedback(
        id=digest("made up", str(number)),
        account="one",
        received_at=datetime(2026, 1, 1, tzinfo=UTC),
        body={"sf_ref_id": f"case-{number}", "nps_score": number % 11},
    )
    return to_record(
        kafka.topic_prefix + "pisano.feedback",
        f"case-{number}",
        feedback,
        ce_type="pisano.feedback",
        ce_source="/accounts/one",
        ce_id=feedback.id,
        ce_time=feedback.received_at,
    )
