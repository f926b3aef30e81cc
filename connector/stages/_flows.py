"""Reads the flows of an account's surveys before its first call, and logs where a mapping does not fit.

Each read goes through the account's limiter and ledger, because Pisano may count every call with the credential
(pisano §6). So only the sender reads flows, and each flow once per process: workers that take turns would otherwise
spend the budget on them.
"""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial

import httpx
import structlog

from connector import pisano
from connector.config import Account, Survey
from connector.errors import ConnectorError, Rejected
from connector.kafka.ledger import LedgerLost
from connector.limits import StackedLimiter
from connector.pisano import Auth, Throttled
from connector.stages._endings import Call
from connector.surveys.kinds import constants, kinds

log = structlog.get_logger(__name__)

First = Callable[[], Awaitable[None]]
Counted = Callable[[Call], AbstractAsyncContextManager[None]]

_TIMEOUT = 10.0  # seconds: the account's invitations wait meanwhile


async def nothing() -> None:
    """For a sender that has no calls to make before the invitations'."""


class Flows:
    """Knows which flows this process has read."""

    def __init__(self, surveys: Mapping[str, Survey], http: httpx.AsyncClient) -> None:
        self._surveys = surveys
        self._http = http
        self._read: set[tuple[str, str]] = set()  # accounts and their flows

    def reading(self, name: str, account: Account, auth: Auth, counted: Counted, limiter: StackedLimiter) -> First:
        """What the sender of the account `name` has to await before its other calls."""
        return partial(self._read_each, name, account, auth, counted, limiter)

    async def _read_each(
        self, name: str, account: Account, auth: Auth, counted: Counted, limiter: StackedLimiter
    ) -> None:
        for flow in dict.fromkeys(each.flow for each in self._surveys.values() if each.account == name):
            if flow is None or (name, flow) in self._read:
                continue
            self._read.add((name, flow))
            try:
                header = await auth.header()
                async with counted("flow"):
                    found = await pisano.read_flow(
                        self._http,
                        account.base_url,
                        flow,
                        header,
                        connect_timeout=min(_TIMEOUT, account.connect_timeout),
                        timeout=min(_TIMEOUT, account.timeout),
                    )
            except LedgerLost:
                self._read.discard((name, flow))
                raise
            except ConnectorError as error:
                log.warning("flow_cannot_be_read", account=name, flow=flow, reason=str(error))
                if isinstance(error, Throttled):
                    limiter.close_after_429(error.retry_after)
                if not isinstance(error, Rejected):
                    return  # Pisano is away, or refuses the account: the invitations do not wait for more of this
            else:
                self._compare(name, flow, found)

    def _compare(self, account: str, flow: str, found: pisano.Flow) -> None:
        for name, survey in self._surveys.items():
            if (survey.account, survey.flow) == (account, flow):
                mapping = constants(survey.built_in_responses)
                for key, why in pisano.mistakes(found, mapping, kinds(survey, {})):
                    log.error("built_in_response_does_not_fit", survey=name, key=key, flow=flow, reason=why)
