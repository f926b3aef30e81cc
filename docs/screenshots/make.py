"""Makes the pictures of the console in this folder: `.venv/bin/python docs/screenshots/make.py`.

It needs Chromium. It starts the demo and a console beside it, closes some cases, and takes each picture when there is
something on it.
"""

import asyncio
import shutil
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

from playwright.async_api import Page, async_playwright

FOLDER = Path(__file__).parent
sys.path.append(str(FOLDER.parents[1] / "tests"))  # the demo that goes on is a helper of the tests

from helpers.kept_demo import Kept, kept_demo, process  # noqa: E402
from helpers.plain_http import plain_http  # noqa: E402

from connector.sandbox.broker import kafka_broker  # noqa: E402

WIDTH, HEIGHT = 1200, 900
PICTURES = (("light", "overview.png", 880), ("dark", "explain-dark.png", 700), ("light", "deadletters.png", 460))
BURST = 30  # cases; each is a call of its own, so that the gauges and the rates show something
RATES_WITHIN = 180.0  # seconds; the rates are those of a minute
SETTLES = 7.0  # seconds until the console has looked at Kafka again


async def main() -> None:
    """Makes all pictures."""
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(kafka_broker(say=print))
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        demo = await stack.enter_async_context(kept_demo(broker.bootstrap_servers, place))
        command = ["console", demo.file, "--port", "0"]
        console = await stack.enter_async_context(process(command, demo.environment, place))
        address = (await console.wait_for("the console is at")).split()[4].rstrip(";")
        playwright = await stack.enter_async_context(async_playwright())
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        browser = await playwright.chromium.launch(executable_path=chromium)
        stack.push_async_callback(browser.close)
        for scheme, name, shown in PICTURES:
            page = await browser.new_page(
                base_url=address,
                viewport={"width": WIDTH, "height": HEIGHT},
                color_scheme=scheme,
                reduced_motion="reduce",
            )
            await page.goto("/")
            if name == "overview.png":
                await _rates(page)
                await _burst(demo)
                await asyncio.sleep(SETTLES)
            elif name == "explain-dark.png":
                await page.fill("#search", "ipek@example.com")
                await page.press("#search", "Enter")
                await page.wait_for_selector(".timeline")
            else:
                await page.click("nav >> text=Dead letters")
            await page.screenshot(path=FOLDER / name, clip={"x": 0, "y": 0, "width": WIDTH, "height": shown})
            await page.close()


async def _rates(page: Page) -> None:
    """Waits until the workers know how much they do in a minute."""
    async with asyncio.timeout(RATES_WITHIN):
        while any("\u2013" in rate for rate in await page.locator(".picture .rate").all_text_contents()):  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(1)


async def _burst(demo: Kept) -> None:
    org = f"{demo.environment['SF_LOGIN_URL']}/_control"
    async with plain_http() as http:
        for number in range(BURST):
            person = {"FirstName": "Can", "LastName": "Burst", "Email": f"can{number}@example.net"}
            contact = (await http.post(f"{org}/create", json={"entity": "Contact", "fields": person})).json()
            fields = {"ContactId": contact, "Subject": "Where is my parcel?"}
            case = (await http.post(f"{org}/create", json={"entity": "Case", "fields": fields})).json()
            closed = {"entity": "Case", "record_ids": case, "fields": {"Status": "Closed"}}
            (await http.post(f"{org}/update", json=closed)).raise_for_status()
            await asyncio.sleep(0.3)


if __name__ == "__main__":
    asyncio.run(main())
