"""A Salesforce that takes 100 ms a call, in its own process: tokens, describe, and the collections that write uses.

It stores nothing but each record's last number, so it takes much less time than the double, which checks every value.
It prints its address, and `GET /seen` says what it has seen.
"""

import asyncio
import sys
from collections import Counter
from typing import Any

import orjson
from aiohttp import web

DELAY = 0.1  # seconds
_NUMBER = "Score__c"  # the field that holds a record's number: it must rise for each key


class SlowOrg:
    """`seen` counts calls, records, full calls and broken rules."""

    def __init__(self) -> None:
        self.seen = Counter[str](calls=0, records=0, full_calls=0, most_at_once=0, out_of_order=0, twice_at_once=0)
        self._at_once = 0
        self._under_way: set[str] = set()
        self._last: dict[str, int] = {}

    async def token(self, request: web.Request) -> web.Response:
        address = f"http://{request.host}"
        return _json({"access_token": "made-up", "instance_url": address, "id": f"{address}/id/00D000000000001AAA/u"})

    async def describe(self, _: web.Request) -> web.Response:
        number = {"name": _NUMBER, "type": "double", "precision": 18, "scale": 0}
        texts = [{"name": name, "type": "string", "length": 255} for name in ("Email__c", "Source__c", "Comment__c")]
        return _json({"fields": [number, *texts]})

    async def upsert(self, request: web.Request) -> web.Response:
        records = orjson.loads(await request.read())["records"]
        keys = {record["Pisano_Id__c"] for record in records}
        self.seen.update(
            calls=1, records=len(records), full_calls=len(records) == 200, twice_at_once=len(keys & self._under_way)
        )
        self._under_way |= keys
        self._at_once += 1
        self.seen["most_at_once"] = max(self.seen["most_at_once"], self._at_once)
        await asyncio.sleep(DELAY)
        self._at_once -= 1
        self._under_way -= keys
        return _json([self._store(record["Pisano_Id__c"], int(record[_NUMBER])) for record in records])

    def _store(self, key: str, number: int) -> dict[str, Any]:
        created = key not in self._last
        self.seen["out_of_order"] += number < self._last.get(key, -1)
        self._last[key] = number
        return {"id": "a00000000000001AAA", "success": True, "errors": [], "created": created}

    async def tell(self, _: web.Request) -> web.Response:
        return _json(self.seen)


def _json(value: object) -> web.Response:
    return web.Response(body=orjson.dumps(value), content_type="application/json")


async def serve() -> None:
    org, app = SlowOrg(), web.Application(client_max_size=8 * 1024 * 1024)
    data = "/services/data/v{version}"
    app.router.add_post("/services/oauth2/token", org.token)
    app.router.add_get(data + "/sobjects/{object}/describe", org.describe)
    app.router.add_patch(data + "/composite/sobjects/{object}/{field}", org.upsert)
    app.router.add_get("/seen", org.tell)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)  # until our parent ends


if __name__ == "__main__":
    asyncio.run(serve())
