"""docs/errors.md says what the code does: each error that it names is put to the code."""

import re
from pathlib import Path

import grpc
import httpx
import pytest
from grpc.aio import AioRpcError, Metadata

from connector.errors import ConnectorError, Fatal, Rejected, Retryable, Unknown
from connector.pisano import errors as pisano
from connector.pisano._http import Answer
from connector.salesforce import errors as salesforce

PAGE = Path(__file__).parents[2] / "docs" / "errors.md"
PREFIX = "sfdc.platform.eventbus.grpc."


def rows(section: str) -> list[tuple[str, str]]:
    text = re.search(rf"## {section}\n\n\|.*\n\|.*\n((?:\|.*\n)+)", PAGE.read_text())
    assert text, section
    cells = [line.strip("|\n ").split(" | ") for line in text[1].splitlines()]
    return [(answer, then) for answer, then in cells]


def codes(section: str, *, pattern: str) -> list[tuple[str, str]]:
    """Each code of a section, and the first word of what is done about it."""
    found = [
        (code.rstrip("…"), re.split(r"[,;:]", then)[0])
        for answer, then in rows(section)
        for code in re.findall(r"`([^`]+)`", answer)
        if re.fullmatch(pattern, code)
    ]
    assert found
    return found


def what(error: ConnectorError) -> str:
    kinds = {Fatal: "held", Rejected: "dead letter", Retryable: "again", Unknown: "in doubt"}
    return next(word for kind, word in kinds.items() if isinstance(error, kind))


@pytest.mark.parametrize(("code", "then"), codes("Salesforce: login", pattern="[a-z_]+"))
def test_a_login(code: str, then: str) -> None:
    answer = httpx.Response(400, json={"error": code, "error_description": "no"})
    assert what(salesforce.from_token_response(answer)) == then


def test_every_permanent_error_of_the_login_is_on_the_page() -> None:
    on_page = codes("Salesforce: login", pattern="[a-z_]+")
    assert {code for code, then in on_page if then == "held"} == salesforce._LOGIN_PERMANENT


@pytest.mark.parametrize(("code", "then"), codes("Salesforce: REST", pattern="[A-Z_]+…?"))
def test_rest(code: str, then: str) -> None:
    of_call = what(salesforce.from_response(httpx.Response(400, json=[{"errorCode": code, "message": "no"}]), "call"))
    of_record = what(salesforce.from_record([{"statusCode": code, "message": "no"}], "record"))
    assert then in {of_call, of_record}


def test_every_code_of_rest_that_the_code_names_is_on_the_page() -> None:
    named = salesforce._BUSY | salesforce._EXHAUSTED | salesforce._MISNAMED | salesforce._HIDDEN
    assert {*named, *salesforce._FORBIDDEN} <= {code for code, _ in codes("Salesforce: REST", pattern="[A-Z_]+…?")}


@pytest.mark.parametrize(("code", "then"), codes("Salesforce: Pub/Sub API", pattern=r"[a-z.]+…?"))
def test_pubsub(code: str, then: str) -> None:
    trailer = Metadata(("error-code", PREFIX + code))
    error = AioRpcError(grpc.StatusCode.ABORTED, Metadata(), trailer, "no")
    assert what(salesforce.from_rpc(error, "call")) == then


def test_every_code_of_pubsub_that_the_code_names_is_on_the_page() -> None:
    on_page = {code for code, _ in codes("Salesforce: Pub/Sub API", pattern=r"[a-z.]+…?")}
    assert {*salesforce._STREAM_PAUSES, *salesforce._STREAM_FATAL} <= on_page


@pytest.mark.parametrize(
    ("status", "then"),
    [(429, "again"), (503, "again"), (302, "again"), (401, "held"), (403, "dead letter"), (422, "dead letter")]
    + [(status, "in doubt") for status in (303, 408, 500, 502, 504)],
)
def test_pisano(status: int, then: str) -> None:
    assert (
        what(pisano.from_answer(Answer(status, httpx.Headers(), b"", complete=True), "call", repeatable=False)) == then
    )
