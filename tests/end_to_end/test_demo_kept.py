"""`connector demo --keep`, and what an operator does beside it: look, explain, work off, replay, compare."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from helpers.kept_demo import Kept, kept_demo

SENT = "ada@example.com"


@pytest.fixture
async def kept(bootstrap_servers: str, tmp_path: Path) -> AsyncIterator[Kept]:
    async with kept_demo(bootstrap_servers, tmp_path) as kept:
        yield kept


async def test_an_operator_works_beside_the_running_service(kept: Kept) -> None:
    file = kept.file
    code, said = await kept.run("explain", SENT, file)
    assert (code, "sent" in said, SENT in said) == (0, True, False)
    code, said = await kept.run("status", file, "--json")
    assert code in {0, 1}
    assert json.loads(said.splitlines()[0])["stages"]
    code, said = await kept.run("deadletters", "list", "--json", "--config", file)
    (letter,) = map(json.loads, said.splitlines())
    assert (code, letter["stage"], letter["reason"]) == (1, "send", "rejected")
    code, said = await kept.run("deadletters", "retry", letter["place"], "--config", file)
    assert code == 1, "what Pisano refused is in the ledger, and is not sent again"
    code, said = await kept.run("deadletters", "discard", letter["place"], "--why", "a test", "--config", file)
    assert code == 0, said
    code, said = await kept.run("deadletters", "list", "--json", "--config", file)
    assert (code, said) == (0, "")
    code, said = await kept.run("replay", "send", "--from", "earliest", "--dry-run", "--config", file)
    assert (code, "28 of 28 records; nothing was written" in said) == (0, True)
    code, said = await kept.run("reconcile", file, "--grace", "0s")
    assert (code, said.splitlines()[-1]) == (0, "nothing is missing")
