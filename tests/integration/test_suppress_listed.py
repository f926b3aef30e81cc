"""`connector suppress list` on a real broker: it shows what people wrote as they wrote it, and nobody's address."""

from pathlib import Path

from helpers.commands import command
from helpers.service import Setup, set_up

from connector.operate import suppressions


async def test_a_reason_is_shown_as_it_was_written_and_names_nobody(
    tmp_path: Path, bootstrap_servers: str, unique: str
) -> None:
    """Rich would take `[/sales]` for the end of a style, and leave `[ticket 12]` out."""
    setup: Setup = await set_up(tmp_path, bootstrap_servers, unique)
    why = "[ticket 12] [/sales] asked from bob@example.com"
    hashed = f"person/{'a' * 32}"
    assert (await command(setup, "suppress", "add", "ada@example.com", "--why", why)).returncode == 0

    async def listed(*options: str) -> str:
        ended = await command(setup, "suppress", "list", *options)
        assert ended.returncode == 0
        return ended.stdout.decode()

    await suppressions.write(setup.kafka, [suppressions.entry(hashed, by="legal")])
    masked, full = await listed(), await listed("--show")
    assert "[ticket 12] [/sales] asked from b***@example.com" in masked
    assert "a***@example.com" in masked
    assert "person/aaaaaa…" in masked  # whoever knows an address could look whether a whole hash is of it
    assert all(each in full for each in (why, "ada@example.com", hashed))
