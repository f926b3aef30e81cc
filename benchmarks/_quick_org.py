"""A Salesforce that answers a SOQL query by ids at once, in its own process, so that trigger is what is measured.

It prints its address. Each field of each record is `value`, but for the Id and for Email.
"""

import asyncio
import re

import orjson
from aiohttp import web

_QUERY = re.compile(r"SELECT (.+) FROM \w+ WHERE Id IN \((.+)\)")


async def token(request: web.Request) -> web.Response:
    address = f"http://{request.host}"
    return _json({"access_token": "made-up", "instance_url": address, "id": f"{address}/id/00D000000000001AAA/u"})


async def query(request: web.Request) -> web.Response:
    found = _QUERY.fullmatch(request.query["q"])
    if found is None:
        return web.Response(status=400)
    fields = dict.fromkeys(found[1].split(","), "value")
    ids = [quoted.strip("'") for quoted in found[2].split(",")]
    return _json({"done": True, "records": [{**fields, "Id": each, "Email": f"{each}@example.com"} for each in ids]})


def _json(value: object) -> web.Response:
    return web.Response(body=orjson.dumps(value), content_type="application/json")


async def serve() -> None:
    app = web.Application()
    app.router.add_post("/services/oauth2/token", token)
    app.router.add_get("/services/data/v{version}/query", query)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve())
