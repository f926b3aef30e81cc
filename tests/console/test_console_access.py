"""Who gets into the console, what each role may do, and what no other site can make a person's browser do."""

from pathlib import Path

import pytest
from helpers.config_files import MINIMAL, mistakes, read
from helpers.console import LOGIN, console, log_in, seal
from multidict import CIMultiDict

from connector.cli.console import console as command
from connector.console.server import serving
from connector.errors import Fatal

PROXY = "\nconsole: {proxy: {trusted: [NETWORK], header: X-Who, operators: [ada]}}\n"
PAGES = ("/", "/held", "/explain", "/surveys", "/surveys/closed-case", "/deadletters", "/suppressions", "/audit")


async def test_without_a_login_every_page_leads_to_it_and_nothing_is_told(tmp_path: Path) -> None:
    async with console(tmp_path, LOGIN) as (client, *_):
        for path in PAGES:
            answer = await client.get(path, allow_redirects=False)
            assert (answer.status, answer.headers["Location"]) == (303, "/login")
        assert (await client.get("/live")).status == 401
        assert (await client.post("/held/release", data={"cell": "kafka"})).status == 401
        assert (await client.get("/healthz")).status == 200
        assert "closed-case" not in await (await client.get("/login")).text()


async def test_a_token_lets_its_user_in_until_they_leave_or_a_shift_has_passed(tmp_path: Path) -> None:
    now = [0.0]
    async with console(tmp_path, LOGIN, clock=lambda: now[0]) as (client, desk, _):
        wrong = await client.post("/login", data={"token": "hunter2-of-ada-hunter3"})
        assert (wrong.status, "nobody has this token" in await wrong.text()) == (401, True)
        entered = await client.post("/login", data={"token": "hunter2-of-ada-hunter2"}, allow_redirects=False)
        cookie = entered.headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Lax" in cookie
        assert "hunter2" not in cookie
        page = await (await client.get("/")).text()
        assert 'ada <span class="role">operator' in page
        now[0] = 12 * 3600.0
        assert (await client.get("/", allow_redirects=False)).status == 303
        await log_in(client, "ada")
        assert (await client.post("/logout", data={"seal": await seal(client)}, allow_redirects=False)).status == 303
        assert (await client.get("/", allow_redirects=False)).status == 303
        for _ in range(1_100):
            desk.door.enter("hunter2-of-bob-hunter2", "127.0.0.1")
        assert len(desk.door._sessions) == 1_000


async def test_whoever_guesses_tokens_is_shut_out_for_a_minute(tmp_path: Path) -> None:
    """An address after 10 wrong ones, and everybody after 100; who is logged in goes on."""
    now = [0.0]
    async with console(tmp_path, LOGIN, clock=lambda: now[0]) as (client, desk, _):
        await log_in(client, "ada")
        right, wrong = {"token": "hunter2-of-bob-hunter2"}, {"token": "hunter2-of-eve-hunter2"}
        assert [(await client.post("/login", data=wrong)).status for _ in range(12)] == [401] * 10 + [429] * 2
        now[0] = 20.0
        shut = await client.post("/login", data=right)
        assert (shut.status, "Try again in 40 s" in await shut.text()) == (429, True)
        assert (await client.get("/surveys")).status == 200
        assert desk.door.shut_for("10.0.0.7") == 0.0
        for number in range(90):
            desk.door.enter("hunter2-of-eve-hunter2", f"10.0.1.{number}")
        assert desk.door.shut_for("10.0.0.7") == 40.0
        now[0] = 60.0
        assert desk.door.shut_for("10.0.0.7") == 0.0
        await log_in(client, "bob")


async def test_a_cookie_over_https_is_for_https_only(tmp_path: Path) -> None:
    async with console(tmp_path, LOGIN) as (client, *_):
        token = {"token": "hunter2-of-ada-hunter2"}
        entered = await client.post("/login", data=token, headers={"X-Forwarded-Proto": "https"}, allow_redirects=False)
        assert "Secure" in entered.headers["Set-Cookie"]


async def test_a_viewer_looks_and_does_nothing(tmp_path: Path) -> None:
    async with console(tmp_path, LOGIN) as (client, *_):
        await log_in(client, "bob")
        given = {"seal": await seal(client)}
        for path in (
            "/deadletters/retry",
            "/deadletters/discard",
            "/deadletters/0/0",
            "/held/release",
            "/held/brake",
            "/held/settle",
            "/suppressions",
            "/suppressions/add",
            "/suppressions/remove",
            "/surveys/closed-case",
        ):
            answer = await client.post(path, data=given)
            assert (answer.status, "bob is a viewer" in await answer.text()) == (403, True), path
        asked = await client.post("/explain", data={**given, "what": "nonsense"})
        assert (asked.status, "nothing is called" in await asked.text()) == (400, True)


@pytest.mark.parametrize(
    ("network", "name", "role"),
    [
        ("127.0.0.0/8", "ada", "operator"),
        ("127.0.0.1", "bob", "viewer"),
        ("10.0.0.0/8", "ada", None),
        ("127.0.0.1", "", None),
        ("127.0.0.1", "x" * 101, None),
    ],
)
async def test_a_proxys_header_counts_only_from_its_address(
    tmp_path: Path, network: str, name: str, role: str | None
) -> None:
    async with console(tmp_path, PROXY.replace("NETWORK", network)) as (client, *_):
        answer = await client.get("/surveys", headers={"X-Who": name}, allow_redirects=False)
        assert answer.status == (200 if role else 303)
        if role:
            assert f'{name} <span class="role">{role}' in await answer.text()
        else:
            login = await (await client.get("/login")).text()
            assert "through the proxy that logs you in" in login


async def test_a_proxy_that_adds_its_header_to_one_from_outside_lets_nobody_in(tmp_path: Path) -> None:
    async with console(tmp_path, PROXY.replace("NETWORK", "127.0.0.1")) as (client, *_):
        both = CIMultiDict([("X-Who", "ada"), ("X-Who", "bob")])
        assert (await client.get("/surveys", headers=both, allow_redirects=False)).status == 303


async def test_a_form_counts_only_from_the_persons_own_pages(tmp_path: Path) -> None:
    async with console(tmp_path, LOGIN) as (client, *_):
        await log_in(client, "bob")
        of_bob = await seal(client)
        client.session.cookie_jar.clear()
        await log_in(client, "ada")
        for wrong in ({}, {"seal": ""}, {"seal": of_bob}, {"seal": "ü"}):
            answer = await client.post("/held/release", data={"cell": "kafka", **wrong})
            assert (answer.status, "load its page again" in await answer.text()) == (403, True)
        right = {"cell": "kafka", "seal": await seal(client)}
        elsewhere = await client.post("/held/release", data=right, headers={"Sec-Fetch-Site": "cross-site"})
        assert (elsewhere.status, "from another site" in await elsewhere.text()) == (403, True)
        here = await client.post("/held/release", data=right, allow_redirects=False)
        assert here.status == 303


async def test_a_form_has_a_bound(tmp_path: Path) -> None:
    async with console(tmp_path) as (client, *_):
        large = {"seal": await seal(client), "record": "x" * 70_000}
        assert (await client.post("/surveys/closed-case", data=large)).status == 413


async def test_without_a_login_only_this_machine_is_answered(tmp_path: Path) -> None:
    """Neither another machine, nor a site elsewhere whose name was made to point here."""
    async with console(tmp_path) as (client, *_):
        assert (await client.get("/")).status == 200
        for host in ("evil.example", "evil.example:8090", "127.0.0.1.evil.example"):
            assert (await client.get("/", headers={"Host": host})).status == 403
    config = read(tmp_path, MINIMAL)
    with pytest.raises(Fatal, match=r"Set console\.users or console\.proxy"):
        async with serving(config, "0.0.0.0", 0, [], "root"):  # noqa: S104 - that is what is refused
            pass


async def test_a_taken_port_is_one_sentence(tmp_path: Path) -> None:
    config = read(tmp_path, MINIMAL.replace("localhost:9092", "127.0.0.1:1"))
    async with serving(config, "127.0.0.1", 0, [], "root") as address:
        port = int(address.rpartition(":")[2])
        with pytest.raises(Fatal, match=rf"cannot listen on 127\.0\.0\.1:{port}: .*--port"):
            async with serving(config, "127.0.0.1", port, [], "root"):
                pass


def test_the_configuration_refuses_tokens_that_prove_nothing(tmp_path: Path) -> None:
    short = LOGIN.replace("hunter2-of-ada-hunter2", "hunter2")
    assert "a token has at least 16 characters" in "".join(mistakes(tmp_path, MINIMAL + short))
    same = LOGIN.replace("of-bob", "of-ada")
    assert "two users have the same token" in "".join(mistakes(tmp_path, MINIMAL + same))
    assert "hunter2" not in repr(read(tmp_path, MINIMAL + LOGIN))


def test_a_wrong_file_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(Fatal, match="cannot be read"):
        command(tmp_path / "none.yaml")
