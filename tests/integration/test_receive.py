"""receive on a real broker: a 2xx means stored, and only a client that knows the secret gets one."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from helpers import topics
from helpers.plain_http import plain_http
from helpers.raw_http import Connection
from helpers.service import WEBHOOK_SECRET, Setup, metric, running_app, set_up
from helpers.waiting import PATIENCE

from connector.pisano import feedback_id
from connector.records import Feedback, read
from connector.wiring import App, live_webhooks

PATH = "/pisano/main"
SECRET = {"X-Webhook-Secret": WEBHOOK_SECRET}
HEAD = (f"POST {PATH} HTTP/1.1", "Host: connector")
ALLOWED = (*HEAD, f"X-Webhook-Secret: {WEBHOOK_SECRET}")
MOST = 10_000  # bytes: the largest body of a webhook


@pytest.fixture
async def setup(tmp_path: Path, bootstrap_servers: str, unique: str) -> Setup:
    return await set_up(tmp_path, bootstrap_servers, unique, account={"webhook": webhook()})


@pytest.fixture
async def app(setup: Setup) -> AsyncIterator[App]:
    async with running_app(setup.config, ["receive"]) as app:
        yield app


@pytest.fixture
async def http(app: App) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=app.address, timeout=PATIENCE) as client:
        yield client


def webhook(**changes: Any) -> dict[str, Any]:
    fields = {"nps_score": "integer"}
    return {"path": PATH, "secret": WEBHOOK_SECRET, "max_bytes": MOST, "fields": fields, **changes}


async def feedback(setup: Setup) -> list[Feedback]:
    return [read(Feedback, record.value) for record in await topics.read(setup.kafka, "pisano.feedback")]


async def test_a_test_webhook_is_told_to_arrive_and_is_never_stored(setup: Setup, app: App) -> None:
    async with plain_http() as http:
        (found,) = [one async for one in live_webhooks.sent(setup.config, http, app.address)]
        assert (
            str(found) == f"✓ webhook {app.address}{PATH}: a test of main arrived with its secret, and was not stored"
        )
        (found,) = [one async for one in live_webhooks.sent(setup.config, http, f"{app.address}/elsewhere")]
        assert found.level == "error"
        wrong = await http.post(app.address + PATH, content=b'"connector test %s"' % (b"a" * 32))
        assert wrong.status_code == 401
    assert await metric(app, 'connector_webhooks_total{account="main",answer="200"}') == 1
    assert await feedback(setup) == await topics.read(setup.kafka, "connector.deadletters") == []


async def test_an_accepted_webhook_is_on_its_topic_when_the_answer_comes(setup: Setup, http: httpx.AsyncClient) -> None:
    """A repeated webhook has the same id and key, so readers of the topic can recognise it."""
    body = b'{"sf_ref_id": "5005g0000000001AAA", "nps_score": "9", "comment": ""}'
    for count in (1, 2):
        answer = await http.post(PATH, content=body, headers=SECRET)
        assert answer.status_code == 200
        assert len(await feedback(setup)) == count
    first, second = await topics.read(setup.kafka, "pisano.feedback")
    assert first.key == second.key == b"5005g0000000001AAA"
    entry = read(Feedback, first.value)
    assert entry.id == read(Feedback, second.value).id == feedback_id("main", body)
    assert entry.body == {"sf_ref_id": "5005g0000000001AAA", "nps_score": 9, "comment": ""}
    assert dict(first.headers)["ce_id"] == entry.id.encode()


async def test_a_webhook_without_a_reference_is_stored_under_its_own_id(setup: Setup, http: httpx.AsyncClient) -> None:
    bodies = [b'{"sf_ref_id": ""}', b'{"sf_ref_id": null}', b'{"sf_ref_id": 0}', b'{"sf_ref_id": []}', b"{}"]
    bodies.append(b'{"sf_ref_id": {"id": "5005g0000000001AAA"}}')
    for body in bodies:
        assert (await http.post(PATH, content=body, headers=SECRET)).status_code == 200
    records = await topics.read(setup.kafka, "pisano.feedback")
    assert {record.key for record in records} == {feedback_id("main", body).encode() for body in bodies}


async def test_what_cannot_be_read_is_stored_byte_for_byte_and_taken(setup: Setup, http: httpx.AsyncClient) -> None:
    """pisano §4: a repeat would not be readable either, and Pisano may not send it again."""
    bodies = [b'{"comment": "she said "never', b"\xff\x00", b"", b"[1]", b"nine, jane@example.com"]
    for body in bodies:
        assert (await http.post(PATH, content=body, headers=SECRET)).status_code == 200
    letters = await topics.read(setup.kafka, "connector.deadletters")
    assert sorted(letter.value for letter in letters) == sorted(bodies)
    for letter in letters:
        headers = dict(letter.headers)
        assert (headers["dl_stage"], headers["dl_reason"]) == (b"receive", b"unreadable")
        assert headers["dl_source"] == b"webhook /pisano/main"
        assert b"jane" not in headers["dl_error"]
    assert await feedback(setup) == []


async def test_whoever_does_not_know_the_secret_is_not_heard(setup: Setup, app: App) -> None:
    """Refused: no secret, a wrong one, bytes that are no text, the right one after a wrong one or in another header."""
    wrong: list[list[str]] = [
        [],
        ["X-Webhook-Secret: wrong"],
        ["X-Webhook-Secret: "],
        [f"X-Webhook-Secret: {WEBHOOK_SECRET}x"],
        ["X-Webhook-Secret: \xff\xfe\xe9"],
        ["X-Webhook-Secret: wrong", f"X-Webhook-Secret: {WEBHOOK_SECRET}"],
        [f"Authorization: Bearer {WEBHOOK_SECRET}"],
    ]
    for headers in wrong:
        async with Connection(app.address) as connection:
            await connection.say(*HEAD, *headers, "Content-Length: 2", "", body=b"{}")
            assert await connection.status() == 401, headers
    assert await feedback(setup) == []


async def test_the_secret_may_stand_at_the_end_of_the_path(tmp_path: Path, bootstrap_servers: str, unique: str) -> None:
    """For a Pisano that cannot set headers. A secret in a header is then not accepted."""
    account = {"webhook": webhook(secret_in="path")}
    setup = await set_up(tmp_path, bootstrap_servers, unique, account=account)
    async with (
        running_app(setup.config, ["receive"]) as app,
        httpx.AsyncClient(base_url=app.address, timeout=PATIENCE) as http,
    ):
        assert (await http.post(f"{PATH}/{WEBHOOK_SECRET}", content=b"{}")).status_code == 200
        assert (await http.post(f"{PATH}/wrong", content=b"{}")).status_code == 401
        assert (await http.post(f"{PATH}/%FF%FE", content=b"{}")).status_code == 401
        assert (await http.post(PATH, content=b"{}", headers=SECRET)).status_code == 404
    assert len(await feedback(setup)) == 1


async def test_a_body_above_the_bound_is_refused_and_one_of_exactly_the_bound_is_taken(
    setup: Setup, app: App, http: httpx.AsyncClient
) -> None:
    """Also without an announced length: receive refuses the chunks as soon as they are too large together."""
    body = b'{"comment": "%s"}' % (b"x" * (MOST - 15))
    assert (await http.post(PATH, content=body, headers=SECRET)).status_code == 200
    chunk = b"%x\r\n%s \r\n" % (MOST + 1, body)  # without a last chunk
    for length, sent in (("Content-Length: 10001", body + b" "), ("Transfer-Encoding: chunked", chunk)):
        async with Connection(app.address) as connection:
            await connection.say(*ALLOWED, length, "", body=sent)
            assert await connection.status() == 413, length
    [entry] = await feedback(setup)
    assert entry.body == orjson.loads(body)
    assert await topics.read(setup.kafka, "connector.deadletters") == []


async def test_operators_see_whether_it_lives_is_ready_and_what_it_answered(http: httpx.AsyncClient) -> None:
    await http.post(PATH, content=b"{}", headers=SECRET)
    await http.post(PATH, content=b"{}")
    for method in ("GET", "PUT", "DELETE"):
        assert (await http.request(method, PATH, headers=SECRET)).status_code == 405
    assert (await http.post("/pisano/other", content=b"{}", headers=SECRET)).status_code == 404
    assert (await http.get("/healthz")).json() == {"alive": True}
    ready = await http.get("/readyz")
    assert (ready.status_code, ready.json()) == (200, {"receive": True})
    page = (await http.get("/metrics")).text
    assert 'connector_webhooks_total{account="main",answer="200"} 1.0' in page
    assert 'connector_webhooks_total{account="main",answer="401"} 1.0' in page
