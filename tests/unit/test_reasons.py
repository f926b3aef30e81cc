"""The page of reasons: each reason is on it, and no other."""

import re
from pathlib import Path

from connector.reasons import Reason

PAGE = Path(__file__).parents[2] / "docs" / "invitations.md"


def test_every_reason_is_explained() -> None:
    """In a row of one of the two tables: of outcomes, and of those that wait."""
    rows = re.findall(r"^\| (`[a-z_]+`(?:, `[a-z_]+`)*) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(re.findall(r"[a-z_]+", " ".join(rows))) == sorted(Reason)
