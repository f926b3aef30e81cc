"""The page of settings: up to date, complete, and with the real defaults."""

import re
from pathlib import Path
from typing import Annotated

import pytest
import yaml
from pydantic import ConfigDict, TypeAdapter
from pydantic.fields import FieldInfo

from connector.config import Config, reference
from connector.config.model import Model
from connector.generated_page import keep

SECTIONS = list(reference.sections("", Config))
_HEADING = re.compile(r"^## (.+)\n", re.MULTILINE)


def rows() -> list[tuple[str, FieldInfo, list[str]]]:
    """Each setting on the page: its path, its field, and the row's cells."""
    *_, text = reference.page().split("## The file", 1)
    found = []
    for (path, model), section in zip(SECTIONS, _HEADING.split("## The file" + text)[2::2], strict=True):
        cells = [row[2:-2].split(" | ") for row in section.splitlines() if row.startswith("| `")]
        for (name, field), row in zip(model.model_fields.items(), cells, strict=True):
            assert row[0] == f"`{name}`"
            found.append((f"{path}.{name}", field, row))
    return found


def test_the_page_is_up_to_date() -> None:
    assert reference.PAGE.read_text() == reference.page()


def test_a_stale_page_is_found_and_written_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    assert keep(page, "text", "make it", ["--check"]) == 1
    assert capsys.readouterr().err == "stale: page.md; run: make it\n"
    assert keep(page, "text", "make it", []) == 0
    assert keep(page, "text", "make it", ["--check"]) == 0
    page.write_text("another text")
    assert keep(page, "text", "make it", ["--check"]) == 1


def test_every_setting_is_on_the_page_with_a_meaning() -> None:
    assert {model for _, model in SECTIONS} == {
        model for model in Model.__subclasses__() if model.__module__.startswith("connector.")
    }
    for path, _, (_, allowed, default, meaning) in rows():
        assert allowed, path
        assert default, path
        assert meaning, path


def test_a_setting_without_a_meaning_is_not_let_through() -> None:
    class Bare(Model):
        """A section."""

        documented: bool = True
        """What it means."""

        bare: bool = True

    with pytest.raises(ValueError, match=r"Bare\.bare has no docstring"):
        reference.page(Bare)


def test_a_default_on_the_page_read_as_a_file_would_be_is_the_one_that_holds() -> None:
    for path, field, (_, _, shown, _) in rows():
        if field.is_required():
            assert shown == "required", path
        elif shown == "its defaults":
            assert field.default == type(field.default)(), path
        elif shown == "none":
            assert field.default is None, path
        else:
            lenient = ConfigDict(coerce_numbers_to_str=True, arbitrary_types_allowed=True)
            adapter = TypeAdapter(Annotated[(field.annotation, *field.metadata, "")], config=lenient)
            assert adapter.validate_python(yaml.safe_load(shown.strip("`"))) == field.default, path


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("salesforce.write_batch", "1 to 200"),
        ("salesforce.calls_per_second", "a number above 0"),
        ("salesforce.timeout", "seconds above 0, or like 30s, 15m, 2h"),
        ("salesforce.pubsub.start", "one of `latest`, `earliest`"),
        ("salesforce.pubsub.tls", "true or false"),
        ("kafka.sasl_password", "secret"),
        ("pisano.<name>.retry_statuses", "list; each: 400 to 599"),
        ("pisano.<name>.webhook", "[`pisano.<name>.webhook`](#pisanonamewebhook)"),
        ("surveys.<name>.email", "template"),
        ("surveys.<name>.when", "condition"),
        ("feedback.<name>.by", "mapping, exactly one; key: letters, digits and _, such as Branch__c; value: template"),
    ],
)
def test_what_is_allowed_is_said_in_words(path: str, allowed: str) -> None:
    assert [row[1] for found, _, row in rows() if found == path] == [allowed]


def test_every_link_within_the_page_leads_to_a_heading() -> None:
    text = reference.page()
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in _HEADING.findall(text)}
    assert set(re.findall(r"\(#([^)]+)\)", text)) <= anchors
