"""The sandbox as an outside user sees it: both doubles, with only HTTP."""

import re
import shlex
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path

import httpx
import orjson
import pytest
from helpers.plain_http import plain_http
from helpers.waiting import PATIENCE, until
from receiver import Receiver, receiving

from connector.errors import Fatal
from connector.sandbox.company import REST_PORT, sandbox

JANE = "jane@example.com"
SHARE = "/v1/email_campaigns/4711/email_sharings"


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
async def environ(receiver: Receiver) -> AsyncIterator[Mapping[str, str]]:
    """The environment that `connector sandbox` prints, with a receiver of webhooks in place of the connector."""
    async with sandbox() as both:
        both.expect_webhooks_at(receiver.url.removesuffix("/pisano/main"))
        yield both.environment()


@pytest.fixture
async def salesforce(environ: Mapping[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    async with plain_http(base_url=environ["SF_LOGIN_URL"]) as http:
        yield http


@pytest.fixture
async def pisano(environ: Mapping[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    async with plain_http(base_url=environ["PISANO_BASE_URL"]) as http:
        login = {"client_id": environ["PISANO_APP_ID"], "client_secret": environ["PISANO_APP_SECRET"]}
        token = (await http.post("/v1/authorized_apps/token", json=login)).json()["token"]
        http.headers["Authorization"] = f"Bearer {token}"
        yield http


async def do(http: httpx.AsyncClient, action: str, **arguments: object) -> object:
    return (await http.post(f"/_control/{action}", json=arguments)).raise_for_status().json()


async def see(http: httpx.AsyncClient, memory: str) -> list[dict[str, object]]:
    return (await http.get(f"/_control/{memory}")).raise_for_status().json()


async def test_a_customer_goes_round_over_http_alone(
    environ: Mapping[str, str], salesforce: httpx.AsyncClient, pisano: httpx.AsyncClient, receiver: Receiver
) -> None:
    """A case closes, its event arrives, Pisano e-mails Jane once, she answers, and the answer is written."""
    contact = await do(salesforce, "create", entity="Contact", fields={"LastName": "Doe", "Email": JANE})
    case = await do(salesforce, "create", entity="Case", fields={"ContactId": contact})
    await do(salesforce, "update", entity="Case", record_ids=case, fields={"Status": "Closed"})
    assert [event["values"]["Status"] for event in await see(salesforce, "events?entity=Case")] == ["New", "Closed"]

    await do(pisano, "set_customer", address=JANE, answers={"nps_score": 9}, after=0.05)
    sent = {"emails": [JANE], "built_in_responses": {JANE: {"sf_ref_id": case}}}
    assert (await pisano.post(SHARE, json=sent)).status_code == 201
    (email,) = await see(pisano, f"emails?address={JANE}")
    assert email["built_in_responses"] == {"sf_ref_id": case}
    assert await see(pisano, "second_emails") == []
    (body,) = await until(lambda: receiver.bodies)
    answer = orjson.loads(body)
    assert (answer["nps_score"], answer["sf_ref_id"]) == ("9", case)
    assert receiver.secrets == [environ["PISANO_WEBHOOK_SECRET"]]

    login = {
        "grant_type": "client_credentials",
        "client_id": environ["SF_CLIENT_ID"],
        "client_secret": environ["SF_CLIENT_SECRET"],
    }
    token = (await salesforce.post("/services/oauth2/token", data=login)).json()["access_token"]
    record = {"attributes": {"type": "Survey_Response__c"}, "Pisano_Id__c": "1", "Case__c": case, "Score__c": 9}
    (written,) = (
        await salesforce.patch(
            "/services/data/v68.0/composite/sobjects/Survey_Response__c/Pisano_Id__c",
            json={"records": [record]},
            headers={"Authorization": f"Bearer {token}"},
        )
    ).json()
    (write,) = await see(salesforce, f"history?record={written['id']}")
    assert write["fields"]["Score__c"] == 9


async def test_what_goes_wrong_is_ordered_remembered_and_forgotten(pisano: httpx.AsyncClient) -> None:
    """The double loses the answer after the e-mail went out, the caller sends again, and the double reports it."""
    await do(pisano, "fail", calls="email_sharings", kind="drop", sent=True)
    sent = {"emails": [JANE], "built_in_responses": {JANE: {"sf_ref_id": "5"}}}
    with pytest.raises(httpx.TransportError):
        await pisano.post(SHARE, json=sent)
    assert (await pisano.post(SHARE, json=sent)).status_code == 201
    (second,) = await see(pisano, "second_emails")
    assert second["address"] == JANE
    await do(pisano, "reset")
    assert await see(pisano, "second_emails") == []


async def test_a_port_that_is_taken_is_one_clear_message() -> None:
    async with sandbox() as both:
        port = int(both.pisano.base_url.rpartition(":")[2])
        with pytest.raises(Fatal, match=f"cannot listen.*{port}"):
            async with sandbox(pisano_port=port):
                pass


def test_connector_sandbox_on_taken_ports_ends_with_one_clear_message() -> None:
    """Exit code 2, one line, no traceback."""
    host = "127.0.0.2"  # tests/end_to_end/test_compose.py may need the ports of 127.0.0.1 at the same moment
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):  # another process has the port already, which is just as good
            taken.bind((host, REST_PORT))
            taken.listen()
        command = [sys.executable, "-c", "from connector.cli import main; main()", "sandbox", "--host", host]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)  # noqa: S603
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(rf"connector: the doubles cannot listen: .*{REST_PORT}.*\n", done.stderr)


def test_connector_sandbox_with_tls_prints_an_environment_that_a_shell_takes(tmp_path: Path) -> None:
    """With the variables by which four kinds of programs trust its certificate."""
    host, file = "127.0.0.3", tmp_path / "sand box.pem"
    main = [sys.executable, "-c", "from connector.cli import main; main()", "sandbox", "--host", host, "--tls"]
    done = subprocess.run([*main, str(tmp_path)], capture_output=True, text=True, check=False, timeout=PATIENCE)  # noqa: S603
    assert (done.returncode, done.stderr) == (
        2,
        f"connector: the certificate cannot be written to {tmp_path}: Is a directory. Give --tls a file\n",
    )
    with subprocess.Popen([*main, str(file)], stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(15)]
        process.terminate()
    exported = dict(shlex.split(line)[1].split("=", 1) for line in lines)
    assert (exported["SF_LOGIN_URL"], exported["SF_PUBSUB_TLS"]) == (f"https://{host}:{REST_PORT}", "true")
    assert exported["SURVEY_HOURS"] == "00:00-24:00 UTC"
    for name in ("SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"):
        assert exported[name] == str(file)
    assert file.read_text().startswith("-----BEGIN CERTIFICATE-----")
