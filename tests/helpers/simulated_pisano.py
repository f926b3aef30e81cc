"""Pisano in simulated time, with every possible result of a call. It counts calls and remembers whom it invited."""

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Callable
from random import Random
from typing import Any

import httpx

from connector.pisano.auth import TOKEN_PATH
from helpers.processes import outside

_USUAL = (0.2, 8.0)  # most seconds that an answer takes
_SLOW = 30.0
LISTS = "app"  # the host that answers 200 to a call for a customer that it refuses
HEALTHY = "quiet"  # the host that never has a fault and is never slow
_TROUBLES = ("429", "503", "no connection", "slow", "slow", "lost", "hung", "broken off", "502", "502 sent")


class SimulatedPisano:
    """Counts each call when it arrives, and remembers whom it e-mailed. It refuses every eleventh customer.

    A firewall before it dislikes one customer's name. To the account `app` it answers 200 and lists whom it refused.
    """

    def __init__(self, random: Random, trouble: float, say: Callable[[str], None]) -> None:
        self.calls: defaultdict[str, list[float]] = defaultdict(list)
        self.emails: Counter[str] = Counter()
        self.e_mailed_at: list[tuple[str, float]] = []
        self.trouble = trouble
        self.faults: dict[str, int] = {}  # by host, the status of every answer until somebody mends it
        self._random, self._say = random, say

    async def handle(self, request: httpx.Request) -> httpx.Response:
        troubled = request.url.host != HEALTHY and self._random.random() < self.trouble
        trouble = self._random.choice(_TROUBLES) if troubled else ""
        await outside(asyncio.sleep, self._random.uniform(0, 0.05))
        if trouble == "no connection":
            raise httpx.ConnectError(trouble)
        return await outside(self._answer, request, trouble)

    async def _answer(self, request: httpx.Request, trouble: str) -> httpx.Response:
        await asyncio.sleep(self._random.uniform(0, 0.2))
        self.calls[request.url.host].append(asyncio.get_running_loop().time())
        answer = self._take(request, trouble)
        usual = _USUAL[0] if request.url.host == HEALTHY else self._random.choice(_USUAL)
        await asyncio.sleep(self._random.uniform(0, _SLOW if trouble == "slow" else usual))
        if trouble in {"lost", "hung"}:
            await asyncio.sleep(1000)
        if trouble == "broken off":
            raise httpx.ReadError(trouble)
        return answer

    def _take(self, request: httpx.Request, trouble: str) -> httpx.Response:
        if trouble in {"429", "503"}:
            return httpx.Response(int(trouble), headers=self._random.choice([{}, {"Retry-After": "3"}]))
        if fault := self.faults.get(request.url.host):
            return httpx.Response(fault, text="the campaign has no provider" if fault == 422 else "")
        if request.url.path == TOKEN_PATH:
            return httpx.Response(200, json={"token": "t", "expires_in": 40})
        body = json.loads(request.content)
        given = {"": body["built_in_responses"]} if "customer" in body else body["built_in_responses"]
        whom = [each["sf_ref_id"] for each in given.values()]
        if any(is_disliked(who) for who in whom):
            return httpx.Response(403, text="<html>")
        listed = [address for address, each in given.items() if is_refused(each["sf_ref_id"])]
        if listed and (request.url.host != LISTS or "customer" in body):
            return httpx.Response(422)
        whom = [who for who in whom if not is_refused(who)]
        if trouble not in {"hung", "502"}:
            self.emails.update(whom)
            self.e_mailed_at += [(who, asyncio.get_running_loop().time()) for who in whom]
        self._say(f"{request.url.host} is called for {', '.join(whom)} {trouble}")
        answer: dict[str, Any] = {"rejected": [{"email": address} for address in listed]}
        if "customer" in body:
            answer["link"] = f"https://psn.example/{whom[0]}"
        return httpx.Response(502 if trouble.startswith("502") else 200, json=answer)


def is_disliked(record_id: str) -> bool:
    return record_id == "case-6"


def is_refused(record_id: str) -> bool:
    return int(record_id.removeprefix("case-")) % 11 == 10
