"""The console's pages without a broker: what they show, that nothing on them can run, and that they stay up."""

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from helpers.console import LOGIN, MadeUpBoard, Turns, console, log_in, made_up_status, seal
from helpers.waiting import until

from connector.console import desk, letters
from connector.console.aside import Aside
from connector.console.collector import Collector
from connector.console.picture import chart, view
from connector.decisions import Action, Suppression
from connector.errors import Fatal, Retryable
from connector.kafka.cloud_events import OutRecord
from connector.kafka.inbound import InRecord
from connector.operate import actions, suppressions
from connector.operate.counts import Counts
from connector.operate.letters import Letter
from connector.operate.work_off import Tally
from connector.protection import Hashes
from connector.records import read

WITHOUT_KAFKA = ("/", "/held", "/explain", "/surveys", "/surveys/closed-case")
NEEDS_KAFKA = ("/deadletters", "/deadletters/0/0", "/suppressions", "/audit", "/held?unknown=yes")


async def test_with_kafka_away_the_console_stays_up_and_says_so(tmp_path: Path) -> None:
    board = MadeUpBoard()
    board.error = Retryable("no broker answers at 127.0.0.1:1")
    async with console(tmp_path, board=board) as (client, *_):
        for path in WITHOUT_KAFKA:
            assert (await client.get(path)).status == 200, path
        page = await (await client.get("/")).text()
        assert "no broker answers at 127.0.0.1:1 (no figures of Kafka)" in page
        assert "2<span" in page, "what the workers say is shown all the same"
        answers = await asyncio.gather(*(client.get(path) for path in NEEDS_KAFKA))
        for answer in answers:
            assert answer.status in {400, 503}
            assert "127.0.0.1:1" in await answer.text()
        search = await client.post("/explain", data={"seal": await seal(client), "what": "ada@example.com"})
        assert search.status in {400, 503}
        assert "ada@example.com" not in await search.text()
        click = {"seal": await seal(client), "place": "0/0", "why": "a test"}
        told = await client.post("/deadletters/discard", data=click, allow_redirects=False)
        assert told.status == 303


async def test_nothing_on_a_page_can_run_but_our_own_files(tmp_path: Path) -> None:
    board = MadeUpBoard()
    evil = "<script>alert(1)</script><img src=x onerror=alert(1)> ada@example.com"
    cell = {"cell": "send/main", "kind": "configuration", "reason": evil, "since": "2026-06-01", "worker": "w"}
    board.status = made_up_status(held=[cell], problems=[evil])
    async with console(tmp_path, board=board) as (client, *_):
        for path in (*WITHOUT_KAFKA, "/deadletters", "/nowhere", "/login"):
            answer = await client.get(path)
            text = await answer.text()
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert answer.headers["Cache-Control"] == "no-store"
            assert not re.search(r"<script(?! src=\"/static/)|\sstyle=|\son\w+=(?!alert)|javascript:", text), path
            assert "<script>alert" not in text
            assert "<img" not in text
            assert "ada@example.com" not in text
        assert "&lt;script&gt;alert(1)" in await (await client.get("/held")).text()


async def test_an_address_that_is_searched_for_is_in_no_address_of_a_page(tmp_path: Path) -> None:
    async with console(tmp_path) as (client, *_):
        given = {"seal": await seal(client)}
        id_ = await client.post("/explain", data={**given, "what": "5005g0000000001"}, allow_redirects=False)
        assert (id_.status, id_.headers["Location"]) == (303, "/explain?what=5005g0000000001")
        number = await client.post("/explain", data={**given, "what": "0533 000 00 00"}, allow_redirects=False)
        assert (number.status, "Location" in number.headers) == (400, False)
        assert "such as +90 533 000 00 00" in await number.text()  # what looks like a customer's number is masked
        garbage = await client.post("/explain", data=b"x", headers={"Content-Type": "multipart/form-data"})
        assert (garbage.status, "this form cannot be read" in await garbage.text()) == (400, True)
        address = await client.post("/explain", data={**given, "what": "ada@example.com"}, allow_redirects=False)
        assert "Location" not in address.headers


async def test_a_click_tells_what_became_of_it_once(tmp_path: Path) -> None:
    async with console(tmp_path) as (client, *_):
        given = {"seal": await seal(client)}
        for path, data, says in (
            ("/deadletters/retry", {}, "choose dead letters first"),
            ("/deadletters/discard", {"place": "0/0"}, "write why"),
            ("/held/settle", {"invitation": "x", "decision": "explode"}, "choose sent, resend or drop"),
            (
                "/held/brake",
                {"survey": "closed-case", "decision": "drop"},
                "choose release, drop or spread, and write why",
            ),
            ("/suppressions/add", {"whom": "@"}, "this is not an address that could be invited"),
            ("/suppressions/add", {"whom": "a@b.co", "survey": "closed-cas"}, "did you mean closed-case?"),
            ("/suppressions/add", {"whom": "a@b.co", "until": "2020-01-01"}, "would have ended at 2020-01-01"),
            ("/suppressions/add", {"whom": "905331234567"}, "a phone number with its country"),
        ):
            done = await client.post(path, data={**given, **data}, allow_redirects=False)
            assert says in await (await client.get(done.headers["Location"])).text()
            assert says not in await (await client.get(done.headers["Location"])).text()
        elsewhere = {**given, "back": "https://evil.example"}
        done = await client.post("/deadletters/retry", data=elsewhere, allow_redirects=False)
        assert done.headers["Location"].startswith("/deadletters?said=")


async def test_a_brake_is_decided_about_by_click(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []

    async def here(*_: object) -> None: ...

    async def write(_: object, records: list[OutRecord]) -> None:
        written.extend(read(Action, record.value) for record in records)

    monkeypatch.setattr(desk, "require_kafka", here)
    monkeypatch.setattr(actions, "written", write)
    board = MadeUpBoard()
    cell = {"cell": "brake/main/closed-case", "kind": "brake", "reason": "r", "since": "2026-06-01", "worker": "w"}
    board.status = made_up_status(held=[cell])
    async with console(tmp_path, "    protect: {brake: 5/1h}\n", board=board) as (client, *_):
        page = await (await client.get("/held")).text()
        assert ("/held/brake" in page, "/held/release" in page) == (True, False)
        click = {"seal": await seal(client), "survey": "closed-case", "decision": "spread", "reason": "one by one"}
        for days in ("0", "31", "nan", "soon"):
            wrong = await client.post("/held/brake", data={**click, "days": days})
            assert "can be spread over 0.1 to 30 days" in await wrong.text()
        assert (
            "written down as the action"
            in await (await client.post("/held/brake", data={**click, "days": "2.5"})).text()
        )
    (action,) = written
    assert (action.target, action.decision, action.by) == ("main/closed-case", "spread", "root")
    assert (action.reason, action.params) == ("one by one", {"days": 2.5})


async def test_what_was_done_before_an_error_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another operator's work off ends this one's in the middle; what is done stays done, as on the command line."""
    headers = (("dl_stage", b"write"), ("dl_reason", b"record_gone"))
    letter = Letter(InRecord("connector.deadletters", 0, 7, None, b"{}", headers, 0.0))

    async def here(_: object) -> None:
        pass

    async def work_off(*_: object, tally: Tally, **__: object) -> None:
        tally.add(letter, "done", "")
        raise Fatal("another operator has begun")

    monkeypatch.setattr(desk, "require_kafka", here)
    monkeypatch.setattr(letters, "work_off", work_off)
    async with console(tmp_path) as (client, *_):
        click = {"seal": await seal(client), "place": ["0/7", "0/8"], "back": "/held"}
        done = await client.post("/deadletters/retry", data=click, allow_redirects=False)
        assert done.headers["Location"].startswith("/deadletters?said=")
        note = (await (await client.get(done.headers["Location"])).text()).partition('role="status">')[2]
        assert "retried: 1 of write (record_gone), 0/7</p><p>another operator has begun" in note


async def test_the_suppression_list_shows_nobody_until_an_operator_reveals_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even the hash of somebody who was erased: without `protect.hash_key`, one can look whose it is."""
    erased, mail, phone = f"person/{'ab' * 16}", "ada@example.com", "+905330000000"
    entries = [suppressions.entry(whom, by="dpo", why=f"asked from {mail}, {phone}") for whom in (erased, mail, phone)]

    async def here(*_: object) -> list[Suppression]:
        return entries

    monkeypatch.setattr(desk, "require_kafka", here)
    monkeypatch.setattr(suppressions, "entries", here)
    async with console(tmp_path, LOGIN) as (client, *_):
        for name in ("bob", "ada"):
            client.session.cookie_jar.clear()
            await log_in(client, name)
            page = await (await client.get("/suppressions")).text()
            assert "person/ababab…" in page
            assert not any(each in page for each in ("ab" * 16, mail, phone))
        revealed = await (await client.post("/suppressions", data={"seal": await seal(client)})).text()
        assert all(each in revealed for each in (erased, mail, phone))


async def test_a_click_removes_one_entry_of_the_list_and_not_what_an_erasure_left_of_the_person(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody tidies up an address that an import brought back; the erased person is still never invited."""
    entry, written = suppressions.entry("ada@example.com", by="import"), []

    async def entries(*_: object) -> list[Suppression]:
        return [entry]

    async def write(_: object, records: list[OutRecord]) -> None:
        written.extend((record.key, record.value) for record in records)

    async def trail(_: object) -> list[Action]:
        return [read(Action, written[0][1])]

    monkeypatch.setattr(desk, "require_kafka", entries)
    monkeypatch.setattr(suppressions, "entries", entries)
    monkeypatch.setattr(suppressions, "written", write)
    monkeypatch.setattr(actions, "trail", trail)
    async with console(tmp_path) as (client, *_):
        page = await (await client.get("/suppressions")).text()
        (name,) = re.findall(r'name="entry" value="(\w+)"', page)
        await client.post("/suppressions/remove", data={"seal": await seal(client), "entry": name})
        audit = await (await client.get("/audit")).text()
        assert "suppression of a***@example.com for every survey, which import had added" in audit
    (said, value), *removed = written
    assert said == f"suppression/{Hashes(None).persons(None, 'ada@example.com')[0]}".encode()
    assert (read(Action, value).by, b"ada@" in (value or b"")) == ("root", False)
    assert removed == [(b"email/ada@example.com", None)], "who does it is written down first"


async def test_a_preview_is_masked_until_an_operator_reveals_it(tmp_path: Path) -> None:
    record = {"record": {"Id": "5005g0000000001AAA", "SuppliedEmail": "ada@example.com"}, "changed": ["SuppliedEmail"]}
    async with console(tmp_path) as (client, *_):
        given = {"seal": await seal(client), "record": json.dumps(record)}
        masked = await (await client.post("/surveys/closed-case", data=given)).text()
        found = masked.partition('id="found"')[2]
        assert "Would be invited to campaign 4711" in found
        assert "ada@example.com" not in found
        revealed = await (await client.post("/surveys/closed-case", data={**given, "reveal": "yes"})).text()
        assert "ada@example.com" in revealed.partition('id="found"')[2]
        for damaged, why in (
            ("{", "the record cannot be read"),
            ('{"record": {}, "event": ["x"]}', "is no JSON object"),
        ):
            wrong = await client.post("/surveys/closed-case", data={**given, "record": damaged})
            assert (wrong.status, why in await wrong.text()) == (400, True)
        assert (await client.get("/surveys/closed-cas")).status == 404


async def test_an_open_page_hears_only_what_has_changed_and_leaves_nothing_behind(tmp_path: Path) -> None:
    board = MadeUpBoard()
    async with console(tmp_path, board=board) as (client, _, turns):
        before = len(asyncio.all_tasks())
        async with client.get("/live?page=overview-1h") as stream:
            first = json.loads((await stream.content.readuntil(b"\n\n"))[6:])
            assert {"head", "stages", "accounts", "outcomes"} <= first.keys()
            board.status = made_up_status(held=[{"cell": "x", "kind": "k", "reason": "r", "since": "s", "worker": "w"}])
            turns.turn()
            second = json.loads((await stream.content.readuntil(b"\n\n"))[6:])
            assert "x" in second["held"]
            assert {"accounts", "channels"}.isdisjoint(second)
        for _ in range(50):
            async with client.get("/live") as stream:
                await stream.content.readuntil(b"\n\n")
            turns.turn()
        turns.turn()
        await until(lambda: turns.turn() or len(asyncio.all_tasks()) <= before + 1)
        assert board.looks <= 1 + board.glances / 3 + 1, "pages do not make it look more often"


async def test_the_stream_ends_with_the_login(tmp_path: Path) -> None:
    async with console(tmp_path, LOGIN) as (client, _, turns):
        await log_in(client, "bob")
        async with client.get("/live") as stream:
            await stream.content.readuntil(b"\n\n")
            await client.post("/logout", data={"seal": await seal(client)}, allow_redirects=False)
            turns.turn()
            async with asyncio.timeout(10):
                while not stream.content.at_eof():
                    await stream.content.readany()


async def test_a_kafka_that_hangs_or_fails_stops_no_look_at_the_workers() -> None:
    board, turns = MadeUpBoard(), Turns()
    never = asyncio.Event()

    async def hang() -> None:
        board.looks += 1
        await never.wait()

    board.look = hang  # type: ignore[method-assign, assignment]
    collector = Collector(board, sleep=turns.sleep, within=0.05)
    running = asyncio.create_task(collector.run())
    for glances in range(1, 8):
        await until(lambda count=glances: board.glances >= count)  # type: ignore[misc]
        turns.turn()
    await until(lambda: collector.snapshot.kafka == "Kafka has not answered for 0.05 s")
    old = view(collector.snapshot, datetime.now(UTC))
    assert (old.tone, old.word) == ("warn", "figures are old")
    board.look = MadeUpBoard().look  # type: ignore[method-assign]
    await until(lambda: turns.turn() or collector.snapshot.kafka is None)
    running.cancel()
    await asyncio.wait([running])


async def test_what_takes_too_long_or_is_asked_too_often_is_refused_in_a_sentence() -> None:
    aside = Aside(within=0.05)
    with pytest.raises(Retryable, match=r"more than 0.05 s. Use the command line."):
        await aside.run(lambda: asyncio.sleep(60), "Use the command line.")
    aside = Aside(within=60)
    asked = [asyncio.create_task(aside.run(lambda: asyncio.sleep(60), "")) for _ in range(12)]
    await asyncio.sleep(0)
    with pytest.raises(Retryable, match="too many people"):
        await aside.run(lambda: asyncio.sleep(0), "")
    await until(lambda: len(aside._running) == 4)
    aside.close()
    ended = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(one, asyncio.CancelledError) for one in ended), "close ends what runs, and what waits"


def test_bars_hold_each_count_once_and_the_chart_is_as_high_as_the_highest() -> None:
    now = datetime(2026, 6, 1, 12, 0, 30, tzinfo=UTC)
    counts = Counts()
    for ago in (0, 1, 59, 60 * 24):
        counts.add(("sent", ""), (now - timedelta(minutes=ago)).timestamp(), 2)
    hour = counts.bars(now, timedelta(hours=1), 60)
    assert [sum(each.values()) for _, each in hour] == [2, *[0] * 57, 2, 2]
    day = counts.bars(now, timedelta(days=1), 48)
    assert sum(sum(each.values()) for _, each in day) == 6
    assert day[-1][0] == datetime(2026, 6, 1, 12, tzinfo=UTC)
    drawn = chart([(begin, {"sent": sum(each.values()), "rejected": 1}) for begin, each in hour])
    assert drawn.top == 3
    assert drawn.bars[-1].pieces == [("sent", 33.33, 66.67), ("rejected", 0.0, 33.33)]
