"""Readers of our topics: no change breaks them unless the schema has a new version, and old records stay readable.

`tests/golden/schemas` has each schema as it was first published under its version. `tests/golden/records-*.json` has
records as that version of the connector wrote them. A file of a version that is published stays as it is.
"""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from helpers.schema_breaks import breaks

from connector.kafka import asyncapi
from connector.records import Record, read
from connector.values import exact

GOLDEN = Path(__file__).parents[1] / "golden"
RECORDS = sorted(GOLDEN.glob("records-*.json"))


@pytest.mark.parametrize("model", asyncapi.models())
def test_a_schema_still_serves_its_readers(model: type[Record]) -> None:
    kept = GOLDEN / "schemas" / f"{model.__name__}.{model.schema_version}.json"
    assert kept.exists(), f"keep the new version: cp topics/schemas/{model.__name__}.json {kept}"
    found = breaks(json.loads(kept.read_text(encoding="utf-8")), model.model_json_schema())
    assert not found, (
        f"these changes of {model.__name__} break its readers: {'; '.join(found)}. Take them back; or raise its"
        f" schema_version, say so in CHANGELOG.md, and keep the new schema beside {kept.name}; or, if no release has"
        f" this version yet, cp topics/schemas/{model.__name__}.json {kept}"
    )


@pytest.mark.parametrize("file", RECORDS, ids=lambda file: file.stem)
@pytest.mark.parametrize("model", asyncapi.models())
def test_records_of_every_version_are_read_with_all_their_values(model: type[Record], file: Path) -> None:
    """A topic keeps what older versions wrote. `jsonschema` reads them as another program does."""
    for old in exact.loads(file.read_bytes()).get(model.__name__, []):
        again = exact.loads(exact.dumps(vars(read(model, exact.dumps(old)))))
        assert _held(old, again)
        jsonschema.validate(json.loads(exact.dumps(old)), model.model_json_schema())


def test_records_of_this_version_are_kept() -> None:
    newest = json.loads(RECORDS[-1].read_text(encoding="utf-8"))
    assert newest.keys() >= {model.__name__ for model in asyncapi.models()}


def _held(old: Any, new: Any) -> bool:
    """Whether `new` has every value of `old`; a nested model of today may have more fields."""
    if isinstance(old, dict):
        return isinstance(new, dict) and all(name in new and _held(value, new[name]) for name, value in old.items())
    return bool(old == new)


OLD = {
    "$defs": {"Word": {"enum": ["a", "b"], "type": "string"}},
    "type": "object",
    "required": ["id", "word"],
    "properties": {
        "id": {"type": "string"},
        "word": {"$ref": "#/$defs/Word"},
        "at": {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]},
        "list": {"type": "array", "items": {"type": "number"}},
        "part": {"type": "object", "additionalProperties": False, "properties": {"x": {"type": "string"}}},
    },
}


@pytest.mark.parametrize(
    ("name", "schema", "expected"),
    [
        ("new", {"type": "string"}, None),
        ("word", {"const": "a", "type": "string"}, None),
        ("list", {"type": "array", "items": {"type": "integer"}}, None),
        ("at", {"type": "null"}, None),
        ("id", None, "id: is gone"),
        ("id", {"type": "integer"}, "id: may now be integer"),
        ("id", {"anyOf": [{"type": "string"}, {"type": "null"}]}, "id: may now be null"),
        ("word", {"enum": ["a", "b", "c"], "type": "string"}, "word: may now be c"),
        ("word", {"type": "string"}, "word: may now be string"),
        ("at", {"type": "string"}, "at: may now be string"),
        ("list", {"type": "array", "items": {"type": "string"}}, "list[]: may now be string"),
        ("part", {"type": "object", "properties": {"x": {"type": "string"}, "y": {}}}, "part.y: is not allowed"),
    ],
)
def test_what_breaks_a_reader(name: str, schema: dict[str, Any] | None, expected: str | None) -> None:
    properties = {**OLD["properties"], name: schema}
    new = {**OLD, "properties": {key: value for key, value in properties.items() if value is not None}}
    assert breaks(OLD, new) == ([expected] if expected else [])


def test_a_field_that_may_be_missing_breaks_a_reader() -> None:
    assert breaks(OLD, {**OLD, "required": ["id"]}) == ["word: may be missing now"]
