"""Warns about conditions that always hold, or never: whoever wrote them meant something else."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from connector.config._plain import map_in as _map
from connector.config.checks import Finding
from connector.config.periods import Key
from connector.templates import Condition, TemplateError

# A survey is not asked about deleted records (salesforce §B1).
_CHANGES = (
    "CREATE",
    "UPDATE",
    "UNDELETE",
    "SNAPSHOT",
    "GAP_CREATE",
    "GAP_UPDATE",
    "GAP_UNDELETE",
    "GAP_OVERFLOW",
)
_SAMPLES: Mapping[str, Sequence[object]] = {
    "integer": (None, 0, 1),
    "number": (None, 0, 0.5),
    "boolean": (None, True, False),
    "string": (None, "x"),
}
_TYPES: Mapping[str, tuple[type, ...]] = {
    "integer": (int, float),
    "number": (int, float),
    "boolean": (bool,),
    "string": (str,),
}


def constant(data: object) -> Iterator[Finding]:
    """A warning for each condition, and each part of one between `and` and `or`, that always or never holds."""
    accounts, surveys, rules = _map(data, "pisano"), _map(data, "surveys"), _map(data, "feedback")
    for name in surveys:
        survey = _map(surveys, name)
        kinds = ("EVENT",) if str(survey.get("on")).endswith("__e") else _CHANGES
        yield from _condition(("surveys", name, "when"), survey, _Values({"event.change_type": kinds}))
    answer = _Values({"feedback.account": (*accounts, "another")}, _body_types(accounts))
    for name in rules:
        yield from _condition(("feedback", name, "when"), _map(rules, name), answer)
    for name in accounts:
        answers, key = _map(_map(accounts, name), "answers"), ("pisano", name, "answers")
        yield from _condition((*key, "sent_when"), answers, _Values())
        yield from _condition((*key, "refused_when"), answers, _Values())
        yield from _condition((*key, "results", "refused_when"), _map(answers, "results"), _Values())


class _Values:
    """Which values a name can have: `only` these, or those of the declared `types`."""

    def __init__(
        self, only: Mapping[str, Sequence[object]] | None = None, types: Mapping[str, set[str]] | None = None
    ) -> None:
        self._only = only or {}
        self._types = types or {}

    def __call__(self, name: str, values: Sequence[object]) -> Sequence[object]:
        if name in self._only:
            return self._only[name]
        if name not in self._types:
            return values
        found = [value for kind in self._types[name] for value in (*_SAMPLES[kind], *_of_type(kind, values))]
        return list({(type(value), value): value for value in found}.values())


def _of_type(kind: str, values: Sequence[object]) -> list[object]:
    found = [value for value in values if type(value) in _TYPES[kind]]
    if kind != "integer":
        return found
    return [
        whole for value in found if isinstance(value, int | float) for whole in (math.floor(value), math.ceil(value))
    ]


def _condition(key: Key, holder: dict[str, Any], values: _Values) -> Iterator[Finding]:
    source = holder.get(str(key[-1]))
    if not isinstance(source, str):
        return
    try:
        condition = Condition(source)
        parts = condition.comparisons()
    except TemplateError:
        return  # the models report it
    if (whole := condition.verdict(values)) is not None:
        yield Finding(key, f"this condition {_words(whole)}, whatever comes")
        return
    for part in parts if len(parts) > 1 else []:
        if (found := part.verdict(values)) is not None:
            yield Finding(key, f"the part {part} {_words(found)}, whatever comes")


def _words(always: bool) -> str:
    return "always holds" if always else "never holds"


def _body_types(accounts: dict[str, Any]) -> dict[str, set[str]]:
    """The types of the body's keys that every webhook declares."""
    hooks = [_map(_map(account), "webhook") for account in accounts.values() if "webhook" in _map(account)]
    declared = [_map(hook, "fields") for hook in hooks]
    keys = set(declared[0]).intersection(*declared[1:]) if declared else set()
    known = {key: {types[key] for types in declared} for key in keys}
    return {f"body.{key}": kinds for key, kinds in known.items() if kinds <= _TYPES.keys()}
