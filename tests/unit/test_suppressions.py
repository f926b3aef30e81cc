"""What may be added to the suppression list: entries that protect somebody, and nothing else."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from helpers.config_files import MINIMAL, read

from connector.config import Config
from connector.errors import Fatal
from connector.operate import suppressions

CONTACT = "0035g00000XyZ12AAA"
PHONE = "+905331234567"
TOMORROW = f"{datetime.now(UTC) + timedelta(days=1):%F}"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return read(tmp_path, MINIMAL)


def a_file(tmp_path: Path, *lines: str) -> Path:
    file = tmp_path / "blocked.csv"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def test_each_line_of_a_file_is_an_entry_of_its_own_kind(config: Config, tmp_path: Path) -> None:
    lines = ["Ada@Example.com,,,closed-case,asked", ",+90 533 123 45 67,,,", f",,{CONTACT},,"]
    file = a_file(tmp_path, "email,phone,contact,survey,why", *lines)
    found = [*suppressions.from_csv(config, file, "legal")]
    assert [(one.email, one.phone, one.contact) for one in found] == [
        ("ada@example.com", None, None),
        (None, PHONE, None),
        (None, None, CONTACT),
    ]
    assert [(one.survey, one.why, one.by) for one in found] == [
        ("closed-case", "asked", "legal"),
        (None, None, "legal"),
        (None, None, "legal"),
    ]


@pytest.mark.parametrize(
    ("head", "line", "why"),
    [
        ("phone", "905331234567", "a phone number begins with + and its country"),
        ("phone", "0533 123 45 67", "a phone number begins with + and its country"),
        ("phone", "ada@example.com", "a phone number begins with + and its country"),
        ("phone", "+90123", "there is no such phone number"),
        ("email", "ada_example.com", "it has no @"),
        ("email", PHONE, "it has no @"),
        ("contact", "0035g00000XyZ12 AAA", "Salesforce's ids have 15 or 18 letters and digits"),
        ("contact", "ada@example.com", "Salesforce's ids have 15 or 18 letters and digits"),
        ("email,contact", f"ada@example.com,{CONTACT}", "names one of email, phone, contact, and this one email and"),
        ("email,why", ",asked by phone", "names one of email, phone, contact, and this one none"),
        ("email,survey", "ada@example.com,clsoed-case", "there is no survey clsoed-case; did you mean closed-case?"),
        ("email,until", "ada@example.com,2020-01-01", "would have ended at 2020-01-01T23:59:59Z already"),
        ("email,until", "ada@example.com,9999-12-31T23:59:59-05:00", "is neither a day"),
    ],
)
def test_a_line_that_would_protect_nobody_is_refused_with_its_number(
    head: str, line: str, why: str, config: Config, tmp_path: Path
) -> None:
    """`import` reads the whole file before it writes, so nothing of it is on the list then."""
    good = {"email": "ada@example.com", "phone": PHONE, "contact": CONTACT}
    first = good[head.partition(",")[0]] + "," * head.count(",")
    with pytest.raises(Fatal) as caught:
        [*suppressions.from_csv(config, a_file(tmp_path, head, first, line), "legal")]
    assert str(caught.value).startswith(f"{tmp_path / 'blocked.csv'}:3: ")
    assert why in str(caught.value)
    assert "ada" not in str(caught.value).replace(str(tmp_path), ""), "a message shows no address"


@pytest.mark.parametrize("whom", ["905331234567", "0533 123 45 67", "ada_example.com", "contact", ""])
def test_one_entry_is_refused_alike(whom: str, config: Config) -> None:
    with pytest.raises(Fatal, match="write an e-mail address, a phone number with its country"):
        suppressions.new_entry(config, whom, by="legal")


def test_an_entry_may_have_an_end_and_may_be_about_one_survey(config: Config) -> None:
    end = suppressions.moment(TOMORROW)
    one = suppressions.new_entry(config, CONTACT, survey="closed-case", until=end, by="legal")
    assert (one.contact, one.survey, one.until) == (CONTACT, "closed-case", end)


def test_what_an_earlier_version_took_can_still_be_named_to_remove_it() -> None:
    one = suppressions.entry("905331234567", survey="gone", by="legal")
    assert (one.contact, one.survey) == ("905331234567", "gone")
