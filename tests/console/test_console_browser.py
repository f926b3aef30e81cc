"""The console in a browser, beside the demo that goes on: at a desktop's and a phone's width, in light and dark.

One demo and one browser serve all tests here: `make test` keeps the tests of a group in one process.
"""

import asyncio
import itertools
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import pytest_asyncio
from helpers.kept_demo import Kept, kept_demo, process
from helpers.plain_http import plain_http
from helpers.waiting import PATIENCE, until
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("console in a browser")]

OPERATORS = ("ada", "eve")
LOGIN = "\nconsole:\n  users:\n" + "".join(
    f"    {name}: {{token: made-up-token-of-{name}, role: {role}}}\n"
    for name, role in (("ada", "operator"), ("eve", "operator"), ("bob", "viewer"))
)
DESKTOP, PHONE = (1280, 900), (390, 844)
PAGES = ("/", "/deadletters", "/deadletters/0/0", "/held?unknown=yes", "/explain", "/surveys", "/surveys/closed-case")
PAGES += ("/suppressions", "/audit")


class Scene(NamedTuple):
    """The console's address, a browser, the demo beside it, and a client for its doubles and its service."""

    address: str
    browser: Browser
    demo: Kept
    http: httpx.AsyncClient
    folder: Path

    async def page(
        self, name: str = "ada", size: tuple[int, int] = DESKTOP, scheme: Any = "light", **options: Any
    ) -> Page:
        """A page of a person who has just logged in, in a browser of its own."""
        width, height = size
        context: BrowserContext = await self.browser.new_context(
            base_url=self.address, viewport={"width": width, "height": height}, color_scheme=scheme, **options
        )
        context.set_default_timeout(1000 * PATIENCE)
        page = await context.new_page()
        page.on("pageerror", lambda error: pytest.fail(f"a script failed: {error}"))
        await page.goto("/")
        await page.fill("[name=token]", f"made-up-token-of-{name}")
        await page.click("text=Log in")
        await page.wait_for_load_state()
        await expect(page.locator("nav.pages")).to_be_visible()
        return page

    async def control(self, double: str, action: str, **arguments: Any) -> Any:
        """Has a double do something."""
        answer = await self.http.post(f"{self.demo.environment[double]}/_control/{action}", json=arguments)
        assert answer.is_success, answer.text
        return answer.json()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def scene(shared_broker: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("there is no Chromium; on Debian: apt-get install chromium")
    folder = tmp_path_factory.mktemp("console")
    async with AsyncExitStack() as stack:
        demo = await stack.enter_async_context(kept_demo(shared_broker, folder))
        command = ["console", str(_with_login(demo)), "--port", "0"]
        console = await stack.enter_async_context(process(command, demo.environment, folder))
        address = (await console.wait_for("the console is at")).split()[4].rstrip(";")
        playwright = await stack.enter_async_context(async_playwright())
        browser = await playwright.chromium.launch(executable_path=chromium)
        stack.push_async_callback(browser.close)
        yield Scene(address, browser, demo, await stack.enter_async_context(plain_http()), folder)


def _with_login(demo: Kept) -> Path:
    file = Path(demo.file)
    beside = file.with_name("console.yaml")
    beside.write_text(file.read_text() + LOGIN)
    return beside


async def test_the_overview_tells_what_the_demo_did_and_needs_no_script(scene: Scene) -> None:
    plain = await scene.page("bob", java_script_enabled=False)
    for stage in ("capture", "trigger", "send", "receive", "write"):
        row = plain.locator("#stages tbody tr", has=plain.locator(f"th:text-is('{stage}')"))
        await expect(row).to_contain_text("ready")
    await until(lambda: _has_outcomes(plain))
    await expect(plain.locator("#outcomes tr", has_text="sent").first).to_contain_text("24")
    await plain.context.close()


async def _has_outcomes(page: Page) -> bool:
    """Reads the page again until the console has looked at Kafka."""
    await page.reload()
    return await page.locator("#outcomes tbody tr").count() > 0


async def test_a_customer_is_found_by_keyboard_and_the_story_begins_with_one_line(scene: Scene) -> None:
    page = await scene.page("bob")
    await page.keyboard.press("Tab")
    await expect(page.locator(".skip")).to_be_focused()
    await page.keyboard.press("/")
    await expect(page.locator("#search")).to_be_focused()
    await page.keyboard.type("ada@example.com")
    await page.keyboard.press("Enter")
    await expect(page.locator(".summary")).to_contain_text("sent on")
    await expect(page.locator(".summary")).to_contain_text("written to Survey_Response__c")
    kinds = await page.locator(".timeline .kind").all_inner_texts()
    assert kinds[0] == "change"
    assert kinds[-1] == "write"
    assert "ada@example.com" not in await page.content(), "a viewer reads no address, not even the one just typed"
    assert "ada" not in page.url
    await page.context.close()


async def test_a_gauge_fills_while_calls_are_made(scene: Scene) -> None:
    page = await scene.page("bob")
    gauge = page.locator("svg[data-window='625']")
    before = int(await gauge.get_attribute("data-used") or 0)
    link = page.locator("#held a").first
    await link.focus()
    numbers = itertools.count()

    async def filled() -> bool:
        await _close_a_case(scene, f"burst{next(numbers)}@example.net")
        return int(await gauge.get_attribute("data-used") or 0) >= before + 4

    await until(filled)
    await expect(link).to_be_focused()  # what changes under the reader takes the focus from nobody
    await page.context.close()


async def _close_a_case(scene: Scene, email: str) -> str:
    contact = {"FirstName": "Can", "LastName": "Burst", "Email": email}
    (contact_id,) = await _created(scene, "Contact", contact)
    (case,) = await _created(scene, "Case", {"ContactId": contact_id, "Subject": "Where is my parcel?"})
    await scene.control("SF_LOGIN_URL", "update", entity="Case", record_ids=case, fields={"Status": "Closed"})
    return case


async def _created(scene: Scene, entity: str, fields: dict[str, Any]) -> list[str]:
    made = await scene.control("SF_LOGIN_URL", "create", entity=entity, fields=fields)
    return [str(made)] if isinstance(made, str) else [*map(str, made)]


async def test_a_dead_letter_is_retried_by_click_and_goes(scene: Scene) -> None:
    """The answer is about a case that was deleted. It comes back, and a retry then writes the answer."""
    case = await _close_a_case(scene, "gone@example.net")
    await scene.control("SF_LOGIN_URL", "delete", entity="Case", record_ids=case)
    secret = {"X-Webhook-Secret": scene.demo.environment["PISANO_WEBHOOK_SECRET"]}
    hook = f"http://127.0.0.1:{scene.demo.environment['SERVICE_PORT']}/pisano/main"
    answer = await scene.http.post(hook, json={"sf_ref_id": case, "nps_score": 1, "email": "g@b.co"}, headers=secret)
    assert answer.is_success
    page = await scene.page("ada")
    rows = page.locator(".letters tbody tr")
    await until(lambda: _letters_of(page, "stage=write&reason=record_gone"))
    await expect(rows).to_have_count(1)
    await scene.control("SF_LOGIN_URL", "undelete", entity="Case", record_ids=case)
    await rows.locator("input[type=checkbox]").check()
    await page.click("text=Retry chosen")
    await expect(page.locator(".note")).to_contain_text("retried: 1 of write")
    await expect(rows).to_have_count(0)

    async def status() -> Any:
        records = await scene.http.get(
            f"{scene.demo.environment['SF_LOGIN_URL']}/_control/record", params={"entity": "Case", "record_id": case}
        )
        return records.json()["Status"] == "Reopened"

    await until(status)
    await page.goto("/audit")
    await expect(page.locator("tbody tr").first).to_contain_text("ada")
    await expect(page.locator("tbody tr").first).to_contain_text("retry")
    await page.context.close()


async def _letters_of(page: Page, filters: str) -> bool:
    await page.goto(f"/deadletters?{filters}")
    return await page.locator(".letters tbody tr").count() > 0


async def test_a_second_operators_click_is_told_that_it_is_done(scene: Scene) -> None:
    await until(lambda: _has_letter(scene))
    pages = [await scene.page(name) for name in OPERATORS]
    for page in pages:
        await page.goto("/deadletters/0/0")
        await expect(page.locator(".note.warn")).to_contain_text("A retry would do nothing")
        assert "gul@example.com" not in await page.content()
    first, second = pages
    await first.click("text=Show customers' values")
    await expect(first.locator("pre")).to_contain_text("gul@example.com")
    for page in pages:
        await page.fill("[name=why]", f"seen by {OPERATORS[pages.index(page)]}")
        await page.click("button:text-is('Discard')")
    await expect(first.locator(".note.good")).to_contain_text("discarded: 1 of send (rejected)")
    await expect(second.locator(".note.warn")).to_contain_text("already worked off: 1 of send (rejected)")
    await expect(second.locator(".note.warn")).to_contain_text("discarded by ada")
    for page in pages:
        await page.context.close()


async def _has_letter(scene: Scene) -> bool:
    code, _ = await scene.demo.run("deadletters", "show", "0/0", "--config", scene.demo.file)
    return code == 0


async def test_the_suppression_list_takes_and_gives_back_and_a_survey_is_tried(scene: Scene) -> None:
    page = await scene.page("eve", PHONE, "dark")
    await page.goto("/suppressions")
    await page.fill("[name=whom]", "never.again@example.com")
    await page.click("button:text-is('Add')")
    row = page.locator("tbody tr", has_text="n***@example.com")
    await expect(row).to_contain_text("eve")
    assert "never.again" not in await page.content()
    await row.locator("text=Remove").click()
    await expect(row).to_have_count(0)
    await page.goto("/audit")
    removal = page.locator("tbody tr", has_text="n***@example.com")
    await expect(removal).to_contain_text("suppression of n***@example.com for every survey, which eve had added")
    await page.goto("/surveys/closed-case")
    case = await _close_a_case(scene, "try@example.net")
    await page.fill("[name=id]", case)
    await page.click("text=Preview")
    await expect(page.locator("#found")).to_contain_text("Would be invited to campaign 4711")
    await expect(page.locator("#found")).to_contain_text("Contact protection")
    assert "try@example.net" not in await page.content()
    await page.context.close()


@pytest.mark.parametrize(("size", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")], ids=["desktop", "phone"])
async def test_every_page_fits_and_is_accessible(scene: Scene, size: tuple[int, int], scheme: str) -> None:
    axe = await asyncio.to_thread(_axe, scene.folder)
    page = await scene.page("ada", size, scheme, reduced_motion="reduce")
    for path in PAGES:
        await page.goto(path)
        wider = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert await page.evaluate(wider) <= 0, f"{path} is wider than the screen"
        await page.evaluate(axe)
        found = await page.evaluate("axe.run({resultTypes: ['violations']})")
        problems = [f"{one['id']}: {node['html'][:200]}" for one in found["violations"] for node in one["nodes"]]
        assert not problems, f"{path}: {problems}"
    await page.context.close()


def _axe(folder: Path) -> str:
    """The source of axe-core, which npm fetches once. We do not keep it in the repository: it is not ours."""
    source = folder / "node_modules" / "axe-core" / "axe.min.js"
    if not source.exists():
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip("npm is not there to fetch axe-core")
        fetched = subprocess.run(  # noqa: S603 - npm itself
            [npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder), "axe-core@4"],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
            env={**os.environ, "npm_config_fetch_retries": "1"},
        )
        if fetched.returncode:
            pytest.skip(f"npm cannot fetch axe-core: {fetched.stderr.strip()[-200:]}")
    return source.read_text()


async def test_a_page_that_is_open_for_a_day_grows_by_nothing(scene: Scene) -> None:
    """A day of changes, 43,200 looks, would take a day: 400 of them show what each leaves behind."""
    page = await scene.page("bob")
    session = await page.context.new_cdp_session(page)
    await session.send("Performance.enable")

    async def held() -> dict[str, float]:
        await session.send("HeapProfiler.collectGarbage")
        found = await session.send("Performance.getMetrics")
        return {one["name"]: one["value"] for one in found["metrics"]}

    looks = """count => {
        const parts = {}, ids = ["stages", "accounts", "outcomes", "channels", "held"];
        for (let look = 0; look < count; look++) {
            for (const id of ids) parts[id] = document.getElementById(id).innerHTML.replace(/>\\d+</g, `>${look}<`);
            parts.problems = look % 2 ? "<p>something to look at</p>" : "";
            show(parts);
        }
    }"""
    await page.evaluate(looks, 50)
    before = await held()
    await page.evaluate(looks, 400)
    after = await held()
    assert after["Nodes"] <= before["Nodes"] * 1.1
    assert after["JSEventListeners"] <= before["JSEventListeners"]
    assert after["JSHeapUsedSize"] <= before["JSHeapUsedSize"] + 500_000
    await page.context.close()
