"""The AsyncAPI document of the topics is valid for the schema that the AsyncAPI initiative publishes."""

import json
from pathlib import Path

import jsonschema
from helpers import registries

from connector.paths import folder

_SCHEMA = "node_modules/@asyncapi/specs/schemas/3.1.0.json"


def test_the_document_is_valid(installations: Path) -> None:
    schema = json.loads((registries.npm(installations, "@asyncapi/specs@6.11.1") / _SCHEMA).read_text(encoding="utf-8"))
    document = json.loads((folder("topics") / "asyncapi.json").read_text(encoding="utf-8"))
    validator = jsonschema.Draft7Validator(schema)
    assert [error.message for error in validator.iter_errors(document)] == []
    document["channels"]["pisano.feedback"]["bindings"]["kafka"]["partitions"] = "six"
    assert not validator.is_valid(document)
