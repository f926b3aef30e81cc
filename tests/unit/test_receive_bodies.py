"""receive over HTTP, with Kafka up: whatever is sent with the secret is stored, and answered with a 2xx."""

import asyncio
import base64
import gzip
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx
import pytest
from helpers.raw_http import Connection
from helpers.waiting import until
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.config import Account, Kafka, Service
from connector.errors import Rejected
from connector.kafka.cloud_events import OutRecord
from connector.kafka.dead_letters import DeadLetters
from connector.observe.health import Server
from connector.observe.metrics import Metrics
from connector.records import Feedback, read
from connector.stages._answers import Answers
from connector.stages.receive import Receive

SECRET = "a-secret-of-a-webhook"
MOST = 20_000  # bytes
ACCOUNT = {
    "base_url": "https://api.pisano.co",
    "auth": {"method": "static_token", "token": "t"},
    "webhook": {
        "path": "/pisano/main",
        "secret": SECRET,
        "previous_secret": "the-secret-before-this",
        "fields": {"nps_score": "integer", "ratio": "number", "again": "boolean", "branch": "string"},
        "answered_at": "at",
        "identity": ["response_id"],
        "max_bytes": MOST,
    },
}


@dataclass
class Running:
    """The stage behind its server, with a publisher that takes everything up to `largest` bytes."""

    runner: asyncio.Runner
    largest: int = 1_000_000
    stored: list[OutRecord] = field(default_factory=list)
    address: str = ""
    http: httpx.AsyncClient = field(default_factory=httpx.AsyncClient)

    async def publish(self, record: OutRecord) -> None:
        if len(record.value or b"") > self.largest:
            raise Rejected("too large")
        self.stored.append(record)

    def post(self, body: bytes, headers: dict[str, str] | None = None, secret: str = SECRET) -> httpx.Response:
        """Posts one webhook; `stored` then holds what it became."""
        self.stored.clear()
        sent = {"X-Webhook-Secret": secret, "Content-Type": "application/json", **(headers or {})}
        return self.runner.run(
            self.http.post(
                f"{self.address}/pisano/main", content=body, headers={k: v.encode() for k, v in sent.items()}
            )
        )

    def post_together(self, webhooks: Sequence[tuple[bytes, str]]) -> list[int]:
        """Posts many webhooks, a body and a secret each, at the same moment. Returns the answers' statuses."""
        self.stored.clear()

        async def post(body: bytes, secret: str) -> int:
            headers = {"X-Webhook-Secret": secret, "Content-Type": "application/json"}
            return (await self.http.post(f"{self.address}/pisano/main", content=body, headers=headers)).status_code

        async def post_all() -> list[int]:
            return await asyncio.gather(*(post(body, secret) for body, secret in webhooks))

        return self.runner.run(post_all())

    @property
    def letters(self) -> list[OutRecord]:
        return [record for record in self.stored if record.topic == "connector.deadletters"]

    @property
    def feedback(self) -> list[Feedback]:
        return [read(Feedback, record.value) for record in self.stored if record.topic == "pisano.feedback"]


@contextmanager
def running() -> Iterator[Running]:
    async def ready() -> dict[str, bool]:
        return {}

    with asyncio.Runner() as runner:
        found = Running(runner)
        kafka, metrics = Kafka.model_validate({"bootstrap_servers": "localhost:9092"}), Metrics()
        receive = Receive(
            {"main": Account.model_validate(ACCOUNT)},
            found.publish,
            "pisano.feedback",
            dead_letter=DeadLetters(kafka, "receive", lambda *_: None).of_body,
            metrics=metrics,
        )
        server = Server(Service(port=0), receive.routes(), ready=ready, metrics=metrics)
        runner.run(server.start())
        found.address = server.address
        yield found
        runner.run(found.http.aclose())
        runner.run(server.stop())


@pytest.fixture(scope="module")
def stage() -> Iterator[Running]:
    with running() as found:
        yield found


charsets = st.sampled_from(
    ["", "; charset=utf-8", "; charset=windows-1254", "; charset=utf-16", "; charset=zip", "; charset="]
)
types = st.sampled_from(
    ["application/json", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
encodings = st.sampled_from([None, "gzip", "deflate", "br", "zstd", "identity", "gzip, gzip", "rot13"])
wild = st.text("{}[]\"':,\\ \n\x000129.eE+-NaNuIfd8%=&payload_jsonğ\U0001f600")
bodies = (
    st.binary(max_size=200)
    | wild.map(str.encode)
    | wild.map(lambda text: f'{{"comment": "{text}", "nps_score": "{text}", "at": "{text}"}}'.encode())
    | wild.map(lambda text: f'{{"nps_score": {text}, "response_id": {text}, "sf_ref_id": {text}}}'.encode())
    | wild.map(lambda text: f"payload={text}&comment={text}".encode())
    | wild.map(lambda text: f"--x\nContent-Disposition: form-data; name={text}\n\n{text}\n--x--".encode())
    | wild.map(lambda text: f"{{'comment': '{text}', 'list': [{text}]}}\n{{\"n\": {text}}}".encode())
    | st.integers(1, 3000).map(lambda deep: b"[" * deep + b'{"a":' * deep)
    | st.integers(1, 6000).map(lambda digits: b'{"nps_score":%s,"ratio":1e%s}' % (b"9" * digits, b"9" * digits))
    | st.binary(max_size=50).map(gzip.compress)
)


def test_a_bad_webhook_among_good_ones_is_refused_or_buried_alone(stage: Running) -> None:
    """benchmarks/intake.py sends only good ones; this is their path, with bad ones in the same moment."""
    good = [(b'{"response_id": "%d", "nps_score": 9}' % number, SECRET) for number in range(20)]
    bad = [(b"no JSON", SECRET), (b"{" + b" " * MOST + b"}", SECRET), (b'{"response_id": "stranger"}', "wrong")]
    statuses = stage.post_together([*good[:10], *bad, *good[10:]])
    assert statuses == [200] * 10 + [200, 413, 401] + [200] * 10
    assert sorted(int(each.body["response_id"]) for each in stage.feedback) == [*range(20)]
    assert [letter.value for letter in stage.letters] == [b"no JSON"]


FORM = {"Content-Type": "application/x-www-form-urlencoded"}
TURKISH = {"Content-Type": "application/json; charset=windows-1254"}
MULTIPART = {"Content-Type": 'multipart/form-data; boundary="x"'}


@pytest.mark.parametrize(
    ("body", "headers", "read_as"),
    [
        ('{"comment": "one\n\ttwo"}', {}, {"comment": "one\n\ttwo"}),
        ('{"comment": "she said "never""}', {}, {"comment": 'she said "never"'}),
        ('{"comment": "x",}', {}, {"comment": "x"}),
        ("nps_score=9&comment=fine", FORM, {"nps_score": 9, "comment": "fine"}),
        ("payload=%7B%22nps_score%22%3A%229%22%7D", FORM, {"nps_score": 9}),
        ('--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--x--\r\n', MULTIPART, {"a": "b"}),
        ('{"comment": "Şey"}'.encode("cp1254"), TURKISH, {"comment": "Şey"}),
        ('"{\\"nps_score\\": \\"9\\"}"', {}, {"nps_score": 9}),
        ('[{"comment": "x"}]', {}, {"comment": "x"}),
        ("{'comment': 'x'}", {}, {"comment": "x"}),
        ('{"phone": 905321234567123456789012}', {}, {"phone": 905321234567123456789012}),
        ('{"nps_score": "N/A", "comment": "x"}', {}, {"nps_score": None, "comment": "x"}),
        ('{"nps_score": "9,5", "comment": "x"}', {}, {"nps_score": None, "comment": "x"}),
        ('{"nps_score": NaN, "comment": "x"}', {}, {"nps_score": None, "comment": "x"}),
    ],
)
def test_what_a_person_can_read_is_read_and_marked(
    stage: Running, body: str | bytes, headers: dict[str, str], read_as: dict[str, object]
) -> None:
    """Bodies of real senders, over HTTP. The bytes that came, and what they were said to be, are kept beside it."""
    sent = body if isinstance(body, bytes) else body.encode()
    assert (stage.post(sent, headers).status_code, stage.letters) == (200, [])
    [feedback] = stage.feedback
    assert feedback.body == read_as
    if feedback.not_strict or feedback.misfits:
        assert feedback.raw is not None
        assert feedback.raw.content_type == headers.get("Content-Type", "application/json")
        kept = feedback.raw.content
        assert (base64.b64decode(kept) if feedback.raw.encoding == "base64" else kept.encode()) == sent
    else:
        assert b"phone" in sent


def test_several_answers_in_one_body_are_one_feedback_each(stage: Running) -> None:
    for body in (b'[{"n": 1}, {"n": 2}]', b'{"n": 1}\n{"n": 2}\n'):
        assert stage.post(body).status_code == 200
        assert [feedback.body for feedback in stage.feedback] == [{"n": 1}, {"n": 2}]


@pytest.mark.parametrize(
    ("head", "body"),
    [
        ("POST /pisano/main HTTP/1.1\r\nTransfer-Encoding: chunked", b'5\r\n{"n":\r\n3\r\n 9}\r\n0\r\n\r\n'),
        ("POST /pisano/main HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 8", b'{"n": 9}'),
        ("POST /pisano/main HTTP/1.0\r\nContent-Length: 8", b'{"n": 9}'),
        ("POST /pisano/main HTTP/1.1\r\nContent-Length: 11", b'\xef\xbb\xbf{"n": 9}'),
        ("POST /pisano/main HTTP/1.1\r\nContent-Length: 18", b'{"n": 8, "n": 9.0}'),
    ],
)
def test_whatever_http_a_sender_speaks_is_understood(stage: Running, head: str, body: bytes) -> None:
    async def speak() -> int:
        async with Connection(stage.address) as connection:
            lines = [*head.split("\r\n"), "Host: localhost", f"X-Webhook-Secret: {SECRET}", "Content-Type: a/b", ""]
            await connection.say(*lines, body=body)
            return await connection.status()

    stage.stored.clear()
    assert stage.runner.run(speak()) in {100, 200}
    stage.runner.run(until(lambda: len(stage.stored) == 1))
    assert stage.feedback[0].body == {"n": 9}


@settings(max_examples=400, deadline=None)
@given(body=bodies, content_type=types, charset=charsets, encoding=encodings)
def test_no_body_whatsoever_is_lost_or_gets_a_5xx(
    stage: Running, body: bytes, content_type: str, charset: str, encoding: str | None
) -> None:
    headers = {"Content-Type": f"{content_type}; charset={charset}"} | (
        {"Content-Encoding": encoding} if encoding else {}
    )
    answer = stage.post(body, headers)
    assert answer.status_code == 200, (answer.status_code, answer.text)
    assert stage.stored
    assert len(stage.feedback) + len(stage.letters) == len(stage.stored)


@settings(max_examples=100, deadline=None)
@given(
    st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=40).map(str.strip)
)
def test_no_content_type_whatsoever_loses_a_body(stage: Running, content_type: str) -> None:
    assert stage.post(b'{"a": 1}', {"Content-Type": content_type}).status_code == 200
    assert stage.stored


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"\x0b\x02\x80{}\x03", {"Content-Encoding": "br"}),
        (b"no gzip", {"Content-Encoding": "gzip"}),
        (b"[" * 300 + b"]" * 300, {}),
        (b"[1]", {}),
        (b"nine", {}),
        (b"", {}),
        (b'{"c": "\xde"}', {"Content-Type": "application/json; charset=utf-8"}),
        (b"\xde", {"Content-Type": "application/json; charset=ş"}),
    ],
)
def test_what_cannot_be_read_is_a_dead_letter_with_what_is_needed_to_read_it(
    stage: Running, body: bytes, headers: dict[str, str]
) -> None:
    """pisano §4: a repeat would not be readable either, and Pisano may not send it again."""
    answer = stage.post(body, headers)
    assert (answer.status_code, answer.text) == (200, "stored as a dead letter\n")
    [letter] = stage.letters
    kept = dict(letter.headers)
    assert letter.value == body
    assert (kept["dl_stage"], kept["dl_reason"], kept["dl_source"]) == (
        b"receive",
        b"unreadable",
        b"webhook /pisano/main",
    )
    assert kept["dl_content_type"].decode() == headers.get("Content-Type", "application/json")
    assert kept.get("dl_content_encoding", b"").decode() == headers.get("Content-Encoding", "")
    assert (kept["ce_specversion"], kept["ce_type"]) == (b"1.0", b"connector.deadletter")


def test_a_body_that_grows_beyond_what_kafka_takes_is_kept_as_it_came(stage: Running) -> None:
    body = b'{"comment": "%s"}' % (b"\x01" * 10_000)
    stage.largest = 20_000
    try:
        assert stage.post(body).status_code == 200
        [letter] = stage.letters
        assert (letter.value, dict(letter.headers)["dl_reason"]) == (body, b"too_large")
        stage.largest = 5_000
        assert stage.post(body).status_code == 413
    finally:
        stage.largest = 1_000_000


def test_a_mistake_of_ours_costs_no_answer(stage: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise TypeError("jane@example.com is a value")

    monkeypatch.setattr(Answers, "read", fails)
    assert stage.post(b'{"a": 1}').status_code == 200
    [letter] = stage.letters
    assert letter.value == b'{"a": 1}'
    assert b"jane" not in dict(letter.headers)["dl_error"]


def test_a_packed_body_is_read_and_may_not_unpack_to_more_than_the_limit(stage: Running) -> None:
    packed = {"Content-Encoding": "gzip"}
    assert stage.post(gzip.compress(b'{"comment": "x"}'), packed).status_code == 200
    assert stage.feedback[0].body == {"comment": "x"}
    assert stage.post(gzip.compress(b" " * (MOST + 1)), packed).status_code == 413
    assert stage.stored == []


def test_both_secrets_are_valid_and_no_other(stage: Running) -> None:
    for secret, status in (
        (SECRET, 200),
        ("the-secret-before-this", 200),
        ("another-secret-that-is-long", 401),
        ("", 401),
    ):
        assert stage.post(b"{}", secret=secret).status_code == status
        assert bool(stage.stored) == (status == 200)
