"""What a survey asks of fields, compared with what Salesforce says about them, before any record comes."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from connector.config import Survey
from connector.config.scope import one_of
from connector.pisano import Kind, kind
from connector.templates import Condition, Scalar, Template

_BARE = re.compile(r"\s*\{\{-?\s*(?P<root>\w+)\.(?P<field>\w+)\s*-?\}\}\s*")  # a field alone, without a filter
_NEVER = re.compile(r"""\s*(?P<list>changed|nulled)\s+contains\s+(["'])(?P<field>[^"']*)\2\s*""")
_UNNAMED = {"Id", "SystemModstamp", "IsDeleted"}  # in no event's bitmaps (salesforce §B3)
_KINDS: Mapping[str, Kind] = {  # by the type in Salesforce's describe; every other type is a text (salesforce §D2)
    "boolean": "true or false",
    "int": "a whole number",
    "date": "a date",
    "datetime": "Salesforce's time",
    "time": "no date",
}
_NUMBERS = ("double", "currency", "percent")

Described = Mapping[str, Mapping[str, Any]]  # by field name: what describe says about the field


def fields_of(described: Mapping[str, Any]) -> Described:
    """The fields of an object from the answer to describe."""
    fields = described.get("fields")
    named = [each for each in fields if isinstance(each, dict) and "name" in each] if isinstance(fields, list) else []
    return {str(each["name"]): each for each in named}


def constants(mapping: Mapping[str, Template]) -> dict[str, Scalar | None]:
    """Each key, with its value where the template names no variable."""
    return {key: None if template.paths() else template.render({}) for key, template in mapping.items()}


def kinds(survey: Survey, objects: Mapping[str, Described]) -> dict[str, Kind]:
    """What the values of `built_in_responses` are, by key, where that is known. `objects` are described by name."""
    found = {key: kind(value) for key, value in constants(survey.built_in_responses).items() if value is not None}
    names = {"record": survey.on, **{name: lookup.object for name, lookup in survey.lookup.items()}}
    for key, template in survey.built_in_responses.items():
        bare = _BARE.fullmatch(template.source)
        field = objects.get(names.get(bare["root"], ""), {}).get(bare["field"]) if bare else None
        if field:
            found[key] = _kind(field)
    return found


def names_changes(when: Condition | None) -> bool:
    """Whether `never_true` may find something."""
    return when is not None and any(_NEVER.fullmatch(part.source) for part in when.comparisons())


def never_true(when: Condition | None, entity: str, fields: Described) -> Iterator[str]:
    """Each part of the condition that can never hold, because no change event names such a field. In words."""
    for part in when.comparisons() if when else ():
        named = _NEVER.fullmatch(part.source)
        if named and (why := _never_named(named["field"], entity, fields)):
            yield f"{part.source.strip()} never holds: {why}"


def _never_named(field: str, entity: str, fields: Described) -> str | None:
    if field not in fields:
        return f"{entity} has no field {field}; {one_of(field, fields) if fields else ''}"
    if field in _UNNAMED or fields[field].get("calculatedFormula"):
        what = "" if field in _UNNAMED else " is a formula, and"
        return f"{entity}.{field}{what} is in no change event; name the fields that it depends on"
    parts = [name for name, about in fields.items() if name != field and about.get("compoundFieldName") == field]
    if parts and (entity, field) != ("Account", "Name"):  # a business account has a name of its own (salesforce §B1)
        return f"{entity}.{field} is made of other fields, and a change event names these: {', '.join(parts)}"
    return None


def _kind(field: Mapping[str, Any]) -> Kind:
    if field.get("type") in _NUMBERS:
        return "a number" if field.get("scale") else "a whole number"
    return _KINDS.get(str(field.get("type")), "a text")
