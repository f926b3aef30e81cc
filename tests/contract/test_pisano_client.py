"""Our Pisano client against the double, over real sockets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import httpx
import pytest
from helpers.clock import Clock

from connector.errors import Fatal, Rejected, Retryable, Unknown
from connector.pisano.answers import AnswerRules, Results
from connector.pisano.auth import AuthorizedApp, StaticToken
from connector.pisano.errors import Forbidden, Throttled, TokenRenewed
from connector.pisano.sharings import Recipient, Sharings
from connector.sandbox.doubles.pisano import Fault, PisanoDouble

JANE = Recipient("jane@example.com", {"name": "Jane", "external_id": None}, {"sf_ref_id": "5", "branch_id": ""})
JOE = Recipient("joe@example.com")


class Permits:
    """Counts the permitted token calls."""

    taken = 0

    @asynccontextmanager
    async def counted(self) -> AsyncIterator[None]:
        self.taken += 1
        yield


@pytest.fixture
def clock() -> Clock:
    return Clock(1_000_000_000.0)


@pytest.fixture
def permits() -> Permits:
    return Permits()


@pytest.fixture
async def pisano(clock: Clock) -> AsyncIterator[PisanoDouble]:
    async with PisanoDouble(clock=clock) as double:
        double.add_campaign("4711", ["sf_ref_id", "branch_id"])
        yield double


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient() as client:
        yield client


@pytest.fixture
def app(pisano: PisanoDouble, http: httpx.AsyncClient, permits: Permits, clock: Clock) -> AuthorizedApp:
    return AuthorizedApp(http, pisano.base_url, pisano.app_id, pisano.app_secret, counted=permits.counted, clock=clock)


@pytest.fixture
def sharings(pisano: PisanoDouble, http: httpx.AsyncClient, clock: Clock) -> Sharings:
    auth = StaticToken(pisano.static_token, scheme="token")
    return Sharings(http, pisano.base_url, auth, timeout=1.0, clock=clock)


async def test_s1_body_is_taken_and_the_answer_comes_back_raw(pisano: PisanoDouble, sharings: Sharings) -> None:
    """pisano §3: address is the key of the maps; §10: null and empty values are left out."""
    assert (await sharings.send("4711", [JANE, JOE])).text == '{"message":"accepted"}'
    jane, joe = pisano.emails()
    assert (jane.custom_attributes, jane.built_in_responses) == ({"name": "Jane"}, {"sf_ref_id": "5"})
    assert (joe.custom_attributes, joe.built_in_responses) == ({}, {})


async def test_an_address_that_the_answer_lists_got_no_e_mail(pisano: PisanoDouble, http: httpx.AsyncClient) -> None:
    """Report 19: the 2xx is for the whole call, and inside it one address is refused."""
    pisano.configure(suppressed=frozenset({JOE.address}), refused_key="rejected")
    rules = AnswerRules(results=Results("rejected"))
    sharings = Sharings(http, pisano.base_url, StaticToken(pisano.static_token, scheme="token"), rules=rules)
    assert (await sharings.send("4711", [JANE, JOE])).refused == {JOE.address}
    with pytest.raises(Rejected, match="refuse the address"):
        await sharings.send("4711", [JOE])
    assert [email.address for email in pisano.emails()] == [JANE.address]


async def test_an_address_stands_once_in_a_call(sharings: Sharings) -> None:
    """pisano §3: the address is a map key."""
    for recipients in ([JANE, JANE], []):
        with pytest.raises(ValueError, match="address"):
            await sharings.send("4711", recipients)


@pytest.mark.parametrize(
    ("fault", "error", "emailed"),
    [
        (Fault(kind="drop"), Unknown, 0),
        (Fault(kind="drop", sent=True), Unknown, 1),
        (Fault(kind="hang", sent=True), Unknown, 1),
        (Fault(status=500), Unknown, 0),
        (Fault(status=502, sent=True), Unknown, 1),
        (Fault(status=503, headers={"Retry-After": "7"}), Retryable, 0),
        (Fault(status=429, body="Retry later\n", headers={"Retry-After": "3"}), Throttled, 0),
        (Fault(status=422, body='{"errors":["jane.doe@example.com is bad"]}'), Rejected, 0),
        (Fault(status=307, headers={"Location": "/elsewhere"}), Retryable, 0),
        (Fault(status=403, body="<html>blocked"), Forbidden, 0),
        (Fault(status=404), Fatal, 0),
        (Fault(status=401), Fatal, 0),
    ],
)
async def test_an_error_says_what_the_caller_can_do(
    pisano: PisanoDouble, sharings: Sharings, fault: Fault, error: type[Exception], emailed: int
) -> None:
    """Rule 3; pisano §3: if the error does not say whether the e-mail was sent, the call is Unknown and the client does
    not repeat it.
    """
    pisano.fail(fault)
    with pytest.raises(error) as caught:
        await sharings.send("4711", [JANE])
    assert type(caught.value) is error
    assert len(pisano.emails()) == emailed
    assert len(pisano.calls) == 1
    if isinstance(caught.value, Retryable):
        named = fault.headers.get("Retry-After")
        assert caught.value.retry_after == (named and float(named))
    assert "jane.doe" not in str(caught.value)
    assert pisano.static_token not in str(caught.value)


async def test_unreachable_pisano_is_retryable(http: httpx.AsyncClient) -> None:
    """Without a connection there was no e-mail."""
    with pytest.raises(Retryable, match="not reached"):
        await Sharings(http, "http://127.0.0.1:1", StaticToken("t")).send("4711", [JANE])


@pytest.mark.parametrize("dripping", [False, True])
async def test_after_a_2xx_no_broken_or_endless_body_makes_it_less_of_a_success(
    http: httpx.AsyncClient, dripping: bool
) -> None:
    """Only the status decides. The body is just for a person to read, and the whole call has a time limit."""

    served = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}}}")
        writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: 999\r\n\r\ncut")
        with suppress(ConnectionError):
            while dripping:
                await asyncio.sleep(0.02)
                writer.write(b".")
                await writer.drain()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        served.set()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        sharings = Sharings(http, base_url, StaticToken("a token"), connect_timeout=1.0, timeout=1.0)
        answer = await sharings.send("4711", [JANE])
        await served.wait()
        assert answer.text is not None
        assert answer.text.rstrip(".") == "cut"


async def test_tokens_are_fetched_once_with_a_permit_and_renewed_before_they_expire(
    pisano: PisanoDouble, app: AuthorizedApp, permits: Permits, clock: Clock
) -> None:
    """pisano §2.1: only one token call at a time; it also counts against the limits."""
    headers = await asyncio.gather(*(app.header() for _ in range(5)))
    assert len(set(headers)) == 1
    assert permits.taken == len(pisano.calls) == 1
    clock.now += 3600 - 31
    assert await app.header() == headers[0]
    clock.now += 2
    assert app.current() is None
    assert await app.header() != headers[0]
    assert permits.taken == len(pisano.calls) == 2


async def test_no_request_is_made_on_a_permit_that_waited_behind_a_token_call(
    pisano: PisanoDouble, http: httpx.AsyncClient, app: AuthorizedApp, permits: Permits
) -> None:
    """Each request needs its own permit. Without a token, send fetches one and asks the caller to call again."""
    sharings = Sharings(http, pisano.base_url, app)
    with pytest.raises(TokenRenewed):
        await sharings.send("4711", [JANE])
    assert not pisano.emails()
    await sharings.send("4711", [JANE])
    assert (len(pisano.emails()), len(pisano.calls), permits.taken) == (1, 2, 1)


async def test_a_refused_token_is_renewed_once_and_then_fatal(
    pisano: PisanoDouble, http: httpx.AsyncClient, app: AuthorizedApp, permits: Permits
) -> None:
    """pisano §2.1: renew once on 401. Renew a second time only if Pisano accepted a call in between."""
    sharings = Sharings(http, pisano.base_url, app)
    for _ in range(2):
        await app.header()
        pisano.tokens.clear()  # as if revoked
        with pytest.raises(TokenRenewed):
            await sharings.send("4711", [JANE])
        await app.header()
        await sharings.send("4711", [JANE])
    pisano.fail(Fault(status=401, times=2, calls="email_sharings"))
    with pytest.raises(TokenRenewed):
        await sharings.send("4711", [JANE])
    await app.header()
    with pytest.raises(Fatal, match="credentials"):
        await sharings.send("4711", [JANE])
    assert permits.taken == sum(call.path.endswith("/token") for call in pisano.calls) == 4


async def test_a_token_that_pisano_hands_out_again_although_it_refuses_it_is_fatal(
    pisano: PisanoDouble, http: httpx.AsyncClient
) -> None:
    """Many token endpoints give the same token until it expires."""

    class Same(StaticToken):
        def invalidate(self, _: str) -> bool:
            return True

    sharings = Sharings(http, pisano.base_url, Same("t"))
    pisano.fail(Fault(status=401, times=2, calls="email_sharings"))
    with pytest.raises(TokenRenewed):
        await sharings.send("4711", [JANE])
    with pytest.raises(Fatal, match="credentials"):
        await sharings.send("4711", [JANE])


@pytest.mark.parametrize("token_key", ["token", "access_token", "data.token"])
@pytest.mark.parametrize("expiry_key", ["expires_in", "expires_at", "expire_at", "expired_at", None])
async def test_every_candidate_shape_of_the_token_answer(
    pisano: PisanoDouble, app: AuthorizedApp, clock: Clock, token_key: str, expiry_key: str | None
) -> None:
    """pisano §2.1: the names are unknown, so the client reads all candidates; without an expiry it assumes 600 s."""
    pisano.configure(token_key=token_key, expiry_key=expiry_key)
    header = await app.header()
    assert header.removeprefix("Bearer ") in pisano.tokens
    clock.now += 3500 if expiry_key else 560
    assert app.current() == header
    clock.now += 100 if expiry_key else 40
    assert app.current() is None


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault(kind="drop"), Retryable),
        (Fault(status=500), Retryable),
        (Fault(status=429), Throttled),
        (Fault(status=401), Fatal),
        (Fault(status=404), Fatal),
        (Fault(status=200, body='{"key": "abc"}'), Fatal),
    ],
)
async def test_a_failed_token_call_is_never_unknown(
    pisano: PisanoDouble, app: AuthorizedApp, fault: Fault, error: type[Exception]
) -> None:
    """A token call sends no e-mail, so repeating it is harmless. If Pisano refuses it, the settings are wrong."""
    pisano.fail(fault)
    with pytest.raises(error) as caught:
        await app.header()
    assert type(caught.value) is error
    assert pisano.app_secret not in str(caught.value)
    assert (await app.header()).startswith("Bearer ")
