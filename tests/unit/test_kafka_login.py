"""Tokens for SASL OAUTHBEARER: shared, renewed in time, and one sentence when there is none."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiokafka.errors import AuthenticationFailedError, KafkaConnectionError
from helpers.clock import Clock
from helpers.oidc import SECRET, Issuer

from connector.config import OAuth
from connector.kafka.login import Tokens

LIFE = 100


@pytest.fixture
def issuer() -> Issuer:
    issuer = Issuer()
    issuer.lives = LIFE
    return issuer


@pytest.fixture
async def url(issuer: Issuer) -> AsyncIterator[str]:
    async with issuer.serving() as url:
        yield url


def oauth(url: str, **changes: object) -> OAuth:
    login = {"client_id": "me", "client_secret": SECRET, "scope": "kafka", "extensions": {"logicalCluster": "lkc-1"}}
    return OAuth.model_validate({"token_url": url, **login, **changes})


async def test_callers_at_the_same_time_share_one_token(issuer: Issuer, url: str) -> None:
    tokens = Tokens(oauth(url))
    assert len(set(await asyncio.gather(*(tokens.token() for _ in range(5))))) == 1
    assert issuer.given == ["me"]
    assert tokens.extensions() == {"logicalCluster": "lkc-1"}


async def test_a_token_is_renewed_before_it_ends(issuer: Issuer, url: str) -> None:
    clock = Clock(0.0)
    tokens = Tokens(oauth(url), clock)
    await tokens.token()
    clock.now += 0.79 * LIFE
    await tokens.token()
    assert len(issuer.given) == 1
    clock.now += 0.02 * LIFE
    await tokens.token()
    assert len(issuer.given) == 2


async def test_a_token_serves_another_event_loop(issuer: Issuer, url: str) -> None:
    """Faust's consumers run on loops of their own."""
    tokens = Tokens(oauth(url))
    here, there = await asyncio.gather(tokens.token(), asyncio.to_thread(lambda: asyncio.run(tokens.token())))
    assert here == there
    assert len(issuer.given) == 1


async def test_a_refusal_says_where_and_why(url: str) -> None:
    tokens = Tokens(oauth(url, client_secret="wrong"))
    with pytest.raises(AuthenticationFailedError, match=f"{url} gave no token: 401, invalid_client"):
        await tokens.token()


async def test_a_server_that_is_away_is_tried_again(issuer: Issuer) -> None:
    async with issuer.serving() as url:
        pass
    tokens = Tokens(oauth(url))
    for _ in range(2):
        with pytest.raises(KafkaConnectionError, match=f"{url} gave no token"):
            await tokens.token()


async def test_a_token_serves_until_it_ends_while_the_server_is_away(issuer: Issuer) -> None:
    """A client that had to connect again in the last fifth of its life could not."""
    clock = Clock(0.0)
    async with issuer.serving() as url:
        tokens = Tokens(oauth(url), clock)
        given = await tokens.token()
    clock.now += 0.99 * LIFE
    assert await tokens.token() == given
    clock.now += 0.02 * LIFE
    with pytest.raises(KafkaConnectionError, match=f"{url} gave no token"):
        await tokens.token()


@pytest.mark.parametrize("status", [408, 429, 500])
async def test_a_server_that_is_busy_has_not_refused_us(issuer: Issuer, url: str, status: int) -> None:
    """A refusal ends the stages. Until the last token ends, it serves."""
    clock = Clock(0.0)
    tokens = Tokens(oauth(url), clock)
    token = await tokens.token()
    issuer.says = status
    clock.now += 0.9 * LIFE
    assert await tokens.token() == token
    clock.now += 0.2 * LIFE
    with pytest.raises(KafkaConnectionError, match=f"gave no token: {status}"):
        await tokens.token()


async def test_callers_do_not_wait_for_one_that_was_cancelled(url: str) -> None:
    tokens = Tokens(oauth(url))
    first, second = asyncio.create_task(tokens.token()), asyncio.create_task(tokens.token())
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(KafkaConnectionError, match="cancelled"):
        await second
    assert await tokens.token()
