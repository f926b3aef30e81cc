"""The variables that a template may name, and what is wrong with any other."""

import difflib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from connector.templates import PROPERTIES, Condition, TemplateError, VariablePath

_EVENT = ("id", "change_type", "entity", "record_id", "committed_at", "origin", "user", "channel")
_MOST_NAMES = 20  # in a message
_FEEDBACK = ("id", "account", "received_at")
_BARE = re.compile(r"[a-z]\w*(\.\w+)+")
_FIELD = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Root:
    """A name at the start of a path. `fields` is what may follow; None means any field of a Salesforce record."""

    fields: Collection[str] | None = None
    has_relations: bool = False  # a field may belong to a record that this one points to: record.Owner.Name
    is_list: bool = False
    is_value: bool = False  # it may itself be a text or a number
    is_open: bool = False  # anything may follow, at any depth: a webhook's body. With `fields`, after one of those


Scope = Mapping[str, Root]

ANSWER: Scope = {"answer": Root(("status", "headers", "body"), is_open=True)}
REFUSAL: Scope = {"answer": Root(("status", "text"))}
RESULT: Scope = {"result": Root(is_value=True, is_open=True)}
FEEDBACK: Scope = {"feedback": Root(_FEEDBACK), "body": Root(is_open=True)}


def survey_scope(entity: str, lookups: Mapping[str, Collection[str]]) -> Scope:
    """What a survey's templates may name: the record, the event, what changed, and the lookups' fields."""
    record = Root(has_relations=not entity.endswith("__e"))
    scope = {"record": record, "event": Root(_EVENT), **{name: Root(fields) for name, fields in lookups.items()}}
    if not entity.endswith("__e"):  # a platform event is new as a whole: nothing in it has changed
        scope |= {"changed": Root(is_list=True), "nulled": Root(is_list=True)}
    return scope


def is_variable(name: str) -> bool:
    """Whether Liquid reads `name` as a variable. It does not for `blank` or `contains`."""
    try:
        return [path.parts for path in Condition(name).paths()] == [(name,)]
    except TemplateError:
        return False


def is_bare(text: str, scope: Scope) -> bool:
    """Whether a text is the path of a value, such as contact.Id, without the braces that make it one."""
    if not _BARE.fullmatch(text.strip()):
        return False
    try:
        paths = Condition(text).paths()
    except TemplateError:
        return False
    return bool(paths) and not any(mistakes(paths, scope))


def mistakes(paths: Collection[VariablePath], scope: Scope) -> Iterator[tuple[VariablePath, str]]:
    """Each path that `scope` does not allow, and why."""
    for path in paths:
        if reason := _mistake(path, scope):
            yield path, reason


def _mistake(path: VariablePath, scope: Scope) -> str | None:
    name, *rest = path.parts
    root = scope.get(str(name))
    if root is None:
        return f"there is no {name} here; {one_of(str(name), scope)}"
    if root.is_list:
        return None if _is_property(rest) else f'{name} is a list of field names: write {name} contains "Status"'
    if not rest and not root.is_value:
        return f"{name} is not a value but holds values: name one, such as {name}.{next(iter(root.fields or ['Id']))}"
    return None if root.is_open and root.fields is None else _field_mistake(path, root)


def _field_mistake(path: VariablePath, root: Root) -> str | None:
    name, field, *deeper = path.parts
    if not isinstance(field, str) or not _FIELD.fullmatch(field):
        return f"{path} does not name a field: the connector must know beforehand which fields to read"
    if root.is_open:
        return None if field in (root.fields or ()) else f"{name} has no {field}; {one_of(field, root.fields or ())}"
    if root.fields is None:
        return _relation_mistake(path, root, deeper)
    known = path.field
    if known in root.fields:
        return None
    if inner := [each for each in root.fields if each.startswith(f"{known}.")]:
        return f"{path} is not a value but holds values: name one, such as {name}.{inner[0]}"
    return f"{name} has no {known}; {one_of(known, root.fields)}"


def _relation_mistake(path: VariablePath, root: Root, deeper: Sequence[str | int | None]) -> str | None:
    if _is_property(deeper):
        return None
    if not root.has_relations:
        return f"{path} reaches into {path.parts[1]}: for the fields of another record, add a lookup"
    if all(isinstance(part, str) and _FIELD.fullmatch(part) for part in path.field.split(".")):
        return None
    return f"{path} does not name a field: the connector must know beforehand which fields to read"


def _is_property(rest: Collection[str | int | None]) -> bool:
    return all(not isinstance(part, str) or part in PROPERTIES for part in rest)


def one_of(name: str, known: Collection[str]) -> str:
    """`did you mean Email?`, or the list of known names."""
    some = sorted(known)[:_MOST_NAMES]
    lowered = {candidate.lower(): candidate for candidate in known}
    near = difflib.get_close_matches(name.lower(), lowered, 1)
    if near:
        return f"did you mean {lowered[near[0]]}?"
    return f"there is {', '.join(some) or 'nothing'}" + (" and others" if len(some) < len(known) else "")
