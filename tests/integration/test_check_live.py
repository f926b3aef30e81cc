"""`connector check --live` against the doubles and a broker: what does not fit is a line with ✗, and exit code 1."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from helpers import topics
from helpers.commands import connector

from connector.config import Kafka
from connector.config.catalogue import topics_for
from connector.config.file import load
from connector.kafka.topics import apply
from connector.sandbox.company import Sandbox, sandbox
from connector.sandbox.doubles.pisano import Fault
from connector.sandbox.doubles.salesforce import Fault as SalesforceFault

FILE = """\
kafka: {bootstrap_servers: SERVERS, topic_prefix: PREFIX}
salesforce:
  login_url: ${SF_LOGIN_URL}
  auth: {method: client_credentials, client_id: "${SF_CLIENT_ID}", client_secret: "${SF_CLIENT_SECRET}"}
  channels: [/data/CaseChangeEvent]
  pubsub: {endpoint: "${SF_PUBSUB_ENDPOINT}", tls: false}
pisano:
  main:
    base_url: ${PISANO_BASE_URL}
    auth: {method: authorized_app, client_id: "${PISANO_APP_ID}", client_secret: "${PISANO_APP_SECRET}"}
    webhook: {path: /pisano/main, header: X-Webhook-Secret, secret: "a-made-up-webhook-secret"}
surveys:
  closed-case:
    on: Case
    when: changed contains "STATUS" and record.Status == "Closed"
    account: main
    campaign: "4711"
    flow: FLOW
    email: "{{ record.SuppliedEmail }}"
    built_in_responses: {KEY: "{{ record.FIELD }}"}
feedback:
  answers:
    upsert: Survey_Response__c
    by: {Pisano_Id__c: "{{ feedback.id }}"}
    fields: {WRITTEN: "{{ body.comment }}"}
"""
RIGHT = {"STATUS": "Status", "FLOW": '"4711"', "KEY": "sf_ref_id", "FIELD": "Id", "WRITTEN": "Comment__c"}


@pytest.fixture
async def both() -> AsyncIterator[Sandbox]:
    async with sandbox() as doubles:
        yield doubles


class Checked:
    """Runs the command. `topics` says whether the topics are there."""

    def __init__(self, both: Sandbox, file: Path, servers: str, prefix: str) -> None:
        self._both, self._file = both, file
        self._place = {"SERVERS": servers, "PREFIX": prefix}

    async def __call__(self, *, topics: bool = True, **changes: str) -> tuple[int, list[str]]:
        """The exit code, and the lines under the plan."""
        text = FILE
        for name, value in {**self._place, **RIGHT, **changes}.items():
            text = text.replace(name, value, 1)
        self._file.write_text(text)
        if topics:
            config = load(self._file, self._both.environment())
            await apply(config.kafka, topics_for(config))
        ended = await connector(self._both.environment(), "check", str(self._file), "--live")
        lines = ended.stdout.partition("Compared with Kafka, Salesforce and Pisano\n")[2].splitlines()
        return ended.returncode, [line.strip() for line in lines]


@pytest.fixture
def check(both: Sandbox, tmp_path: Path, bootstrap_servers: str, unique: str) -> Checked:
    return Checked(both, tmp_path / "connector.yaml", bootstrap_servers, unique)


def unfit(lines: list[str]) -> list[str]:
    return [line for line in lines if not line.startswith("✓")]


async def test_a_file_that_fits_is_said_to_fit_and_nothing_is_sent(both: Sandbox, check: Checked) -> None:
    code, lines = await check()
    assert (code, unfit(lines)) == (0, [])
    assert len(lines) == len(set(lines))
    said = "\n".join(lines)
    for system in ("every topic is there", "send may read", "the login works", "API requests", "can be followed"):
        assert system in said
    assert "the fields that the file names are in Case, Survey_Response__c" in said
    assert both.pisano.emails() == []
    assert [call.path.rpartition("/")[2] for call in both.pisano.calls] == ["token", "4711"]


async def test_missing_topics_and_channels_that_cannot_be_followed_are_errors(both: Sandbox, check: Checked) -> None:
    both.salesforce.configure(api_limit=1)
    code, lines = await check(topics=False)
    assert code == 1
    assert "✗ Kafka: these topics are missing in Kafka" in lines[0]
    assert any(line.startswith("! Salesforce: ") and "API requests are left today" in line for line in lines)


async def test_a_user_who_may_not_read_the_allowances_is_no_error(both: Sandbox, check: Checked) -> None:
    both.salesforce.fail(SalesforceFault(match="GET .*/limits", status=403, error_code="INSUFFICIENT_ACCESS"))
    code, lines = await check()
    assert (code, [line[:57] for line in unfit(lines)]) == (
        0,
        ["· Salesforce: the day's allowances are not known; the use"],
    )
    assert any("/data/CaseChangeEvent can be followed" in line for line in lines)


async def test_a_topic_where_kafka_deletes_what_waits_is_an_error(
    check: Checked, bootstrap_servers: str, unique: str
) -> None:
    kafka = Kafka(bootstrap_servers=bootstrap_servers, topic_prefix=unique)
    name = await topics.create(kafka, "pisano.invitations", 6, cleanup_policy="compact")
    code, lines = await check()
    assert code == 1
    assert unfit(lines)[0].startswith(f"✗ Kafka: Kafka deletes records of {name} that are still needed.")


async def test_fields_that_are_not_there_or_cannot_be_written_are_errors(check: Checked) -> None:
    code, lines = await check(WRITTEN="Coment__c")
    assert (code, unfit(lines)) == (
        1,
        [
            "✗ feedback.answers: Survey_Response__c has no field Coment__c, or the user may not see it; "
            "did you mean Comment__c?"
        ],
    )
    code, lines = await check(WRITTEN="Name")
    assert (code, unfit(lines)[0][:58]) == (1, "✗ feedback.answers: Survey_Response__c.Name cannot be chan")
    code, lines = await check(WRITTEN="Channel__c: Fax, Comment__c")
    why = "✗ feedback.answers: Survey_Response__c.Channel__c takes one of Email, SMS, Web, and not Fax"
    assert (code, unfit(lines)) == (1, [why])
    code, lines = await check(FIELD="Contat.Email")
    assert code == 1
    assert "surveys.closed-case: Case has no way to another record Contat, or the user may not see it; did" in lines[-3]


async def test_keys_and_types_that_do_not_fit_the_flow_are_errors(check: Checked) -> None:
    code, lines = await check(KEY="sf_refid")
    assert (code, unfit(lines)) == (
        1,
        [
            "✗ surveys.closed-case.built_in_responses.sf_refid: the flow has no question sf_refid;"
            " did you mean sf_ref_id?"
        ],
    )
    code, lines = await check(FIELD="IsClosed")
    assert code == 1
    assert "sf_ref_id: the flow's question is of type string, and the value is true or false" in unfit(lines)[0]


@pytest.mark.parametrize("status", [403, 404, 429, 500])
async def test_a_flow_that_cannot_be_read_is_one_line_and_no_error_of_the_file(
    both: Sandbox, check: Checked, status: int
) -> None:
    both.pisano.fail(Fault(status=status, calls="flows"))
    code, lines = await check(KEY="sf_refid")
    assert code == 0
    (line,) = unfit(lines)
    assert line.startswith(f"· flow 4711 of pisano.main is not compared: reading flow 4711: Pisano answered {status}")


async def test_a_condition_that_can_never_hold_is_a_warning(both: Sandbox, check: Checked) -> None:
    code, lines = await check(STATUS="Statsu")
    assert (code, unfit(lines)) == (
        0,
        [
            '! surveys.closed-case.when: changed contains "Statsu" never holds: Case has no field Statsu;'
            " did you mean Status?"
        ],
    )
    both.salesforce.configure(describable=False)
    code, lines = await check(STATUS="Statsu")
    assert code == 0
    assert unfit(lines)[0].startswith("! Case is not compared: ")


async def test_refused_logins_are_errors(both: Sandbox, check: Checked) -> None:
    both.pisano.app_secret = "another"
    code, lines = await check()
    assert code == 1
    assert unfit(lines)[0].startswith("✗ pisano.main is not compared: fetching a token: Pisano answered 401")
    assert not any("sandbox-app-secret" in line for line in lines)
