"""What a reader of an older JSON Schema would not understand in records of a newer one."""

from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]


def breaks(old: Schema, new: Schema) -> list[str]:
    """Each difference with its place; none if every record of `new` fits `old`, but for fields that only `new` has.

    It knows the words of JSON Schema that pydantic writes for our records.
    """
    return [*_breaks(old, new, old, new, "")]


def _breaks(old: Schema, new: Schema, old_root: Schema, new_root: Schema, where: str) -> Iterator[str]:
    old, new = _followed(old, old_root), _followed(new, new_root)
    if "anyOf" in new:
        for option in new["anyOf"]:
            yield from _breaks(old, option, old_root, new_root, where)
    elif "anyOf" in old:
        if all([*_breaks(option, new, old_root, new_root, where)] for option in old["anyOf"]):
            known = set().union(*(_words(_followed(option, old_root)) or () for option in old["anyOf"]))
            yield f"{where or 'the record'}: may now be {_said(new, known)}"
    else:
        if not _fits(old, new):
            yield f"{where or 'the record'}: may now be {_said(new, _words(old))}"
        yield from _fields(old, new, old_root, new_root, where)
        for word in ("items", "additionalProperties"):
            inner = old.get(word)
            if isinstance(inner, dict):
                given = new.get(word, {})
                yield from _breaks(inner, given if isinstance(given, dict) else {}, old_root, new_root, f"{where}[]")


def _fields(old: Schema, new: Schema, old_root: Schema, new_root: Schema, where: str) -> Iterator[str]:
    known, given = old.get("properties", {}), new.get("properties", {})
    for name, schema in known.items():
        place = f"{where}.{name}".lstrip(".")
        if name not in given:
            yield f"{place}: is gone"
            continue
        if name in old.get("required", ()) and name not in new.get("required", ()):
            yield f"{place}: may be missing now"
        yield from _breaks(schema, given[name], old_root, new_root, place)
    if old.get("additionalProperties") is False:
        yield from (f"{where}.{name}: is not allowed" for name in given if name not in known)


def _fits(old: Schema, new: Schema) -> bool:
    """Whether the values of `new` are among those of `old`, as far as type, format and enumeration say it."""
    if "type" in old and old["type"] != new.get("type") and (old["type"], new.get("type")) != ("number", "integer"):
        return False
    if "format" in old and old["format"] != new.get("format"):
        return False
    words, allowed = _words(new), _words(old)
    return allowed is None or (words is not None and words <= allowed)


def _words(schema: Schema) -> set[Any] | None:
    return {schema["const"]} if "const" in schema else set(schema["enum"]) if "enum" in schema else None


def _followed(schema: Schema, root: Schema) -> Schema:
    while "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    return schema


def _said(schema: Schema, known: set[Any] | None = None) -> str:
    words = (_words(schema) or set()) - (known or set())
    return " or ".join(sorted(map(str, words))) if words else schema.get("format") or schema.get("type", "anything")
