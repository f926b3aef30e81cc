"""Checks that a configuration fits together: names that refer to each other, channels, paths, variables.

The checks read plain data and skip malformed parts, so that one run finds these mistakes and those that the models
report.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from pydantic import ValidationError

from connector.config import TopicSettings
from connector.config._plain import list_in as _list
from connector.config._plain import map_in as _map
from connector.config.catalogue import MEMORIES, REMEMBERED_LONGER, Topic, catalogue
from connector.config.periods import Key, forgotten
from connector.config.scope import (
    ANSWER,
    FEEDBACK,
    REFUSAL,
    RESULT,
    Scope,
    is_bare,
    is_variable,
    mistakes,
    one_of,
    survey_scope,
)
from connector.limits import Window
from connector.templates import Condition, RenderError, Template, TemplateError, VariablePath

_OWN_PATHS = ("/healthz", "/readyz", "/status", "/metrics")
_SURVEY_NAMES = ("record", "changed", "nulled", "event")


@dataclass(frozen=True)
class Finding:
    key: Key
    message: str
    path: VariablePath | None = None  # the variable in question, with its place in the template's text


def check(data: object) -> Iterator[Finding]:
    """Everything that does not fit, in no particular order."""
    yield from _nulls((), data)
    yield from _links(_map(data, "surveys"), _map(data, "feedback"))
    accounts, surveys, rules = _map(data, "pisano"), _map(data, "surveys"), _map(data, "feedback")
    channels = [channel for channel in _list(_map(data, "salesforce").get("channels")) if isinstance(channel, str)]
    for name in surveys:
        yield from _survey(("surveys", name), _map(surveys, name), accounts, channels)
    for name in rules:
        yield from _feedback_rule(("feedback", name), _map(rules, name))
    for name in accounts:
        yield from _answers(("pisano", name, "answers"), _map(_map(accounts, name), "answers"))
        yield from _limits(("pisano", name, "limits"), _map(accounts, name).get("limits"))
    yield from _webhooks(accounts)
    yield from (Finding(key, message) for key, message in forgotten(data))
    yield from _topics(("kafka", "topics"), _map(_map(data, "kafka"), "topics"))
    answers = [name for name in rules if _map(rules, name).get("of") != "link"]
    if answers and accounts and not any("webhook" in _map(accounts, name) for name in accounts):
        yield Finding(("feedback",), "no account under pisano has a webhook, so no feedback can arrive")


def _links(surveys: dict[str, Any], rules: dict[str, Any]) -> Iterator[Finding]:
    if any(_map(rules, name).get("of") == "link" for name in rules):
        return
    for name in surveys:
        if _map(surveys, name).get("channel") == "link":
            yield Finding(("surveys", name, "channel"), "no rule under feedback has `of: link`, so nobody would get it")


def channels_for(entity: str) -> list[str]:
    """The channels that carry changes of `entity`, the narrowest first (salesforce §B5). `…__chn` may do so too."""
    if entity.endswith("__e"):
        return [f"/event/{entity}"]
    stem = entity.removesuffix("c") if entity.endswith("__c") else entity
    return [f"/data/{stem}ChangeEvent", "/data/ChangeEvents"]


def _nulls(key: Key, data: object) -> Iterator[Finding]:
    """A key without a value is a mistake: `when:` would mean every change, `opted_out:` that nobody can opt out."""
    if data is None:
        yield Finding(key, "there is no value here; write one, or leave the key out")
    for name, value in data.items() if isinstance(data, dict) else enumerate(_list(data)):
        yield from _nulls((*key, name), value)


def _survey(key: Key, survey: dict[str, Any], accounts: dict[str, Any], channels: list[str]) -> Iterator[Finding]:
    account, entity = survey.get("account"), survey.get("on")
    if isinstance(account, str) and accounts and account not in accounts:
        yield Finding((*key, "account"), f"there is no account {account} under pisano; {one_of(account, accounts)}")
    if isinstance(entity, str) and channels and all(channels):
        served = set(channels_for(entity)) & set(channels)
        custom = not entity.endswith("__e") and any(channel.endswith("__chn") for channel in channels)
        if not served and not custom:
            yield Finding((*key, "on"), f"no channel brings {entity}: {_remedy(entity, channels)}")
    yield from _survey_templates(key, survey, entity if isinstance(entity, str) else "")


def _remedy(entity: str, channels: list[str]) -> str:
    wanted = channels_for(entity)
    for channel in channels:
        if channel.lower() == wanted[0].lower():
            return f"{channel} spells it differently"
    return f"add {' or '.join(wanted)} to salesforce.channels"


def _survey_templates(key: Key, survey: dict[str, Any], entity: str) -> Iterator[Finding]:
    lookups: dict[str, list[str]] = {}
    for name, lookup in _map(survey, "lookup").items():
        at = (*key, "lookup", name)
        if name in _SURVEY_NAMES or not is_variable(name):
            yield Finding(at, f"{name} means something else in templates; choose another name")
            continue
        above = survey_scope(entity, lookups)
        yield from _variables((*at, "id"), _map(lookup), Template, above)
        for field in _map(lookup, "by"):
            yield from _variables((*at, "by", field), _map(lookup, "by"), Template, above)
        lookups[name] = [field for field in _list(_map(lookup).get("fields")) if isinstance(field, str)]
    scope = survey_scope(entity, lookups)
    yield from _variables((*key, "when"), survey, Condition, scope)
    for name in ("email", "phone"):
        yield from _variables((*key, name), survey, Template, scope)
    protect = _map(survey, "protect")
    for name in ("opted_out", "contact", "once_per", "zone"):
        yield from _variables((*key, "protect", name), protect, Template, scope)
    for name in ("by", "per_day"):
        yield from _variables((*key, "protect", "cap", name), _map(protect, "cap"), Template, scope)
    for group in ("custom_attributes", "built_in_responses"):
        for name in _map(survey, group):
            yield from _variables((*key, group, name), _map(survey, group), Template, scope)


def _feedback_rule(key: Key, rule: dict[str, Any]) -> Iterator[Finding]:
    yield from _variables((*key, "when"), rule, Condition, FEEDBACK)
    for group in ("by", "fields"):
        for name, value in _map(rule, group).items():
            yield from _variables((*key, group, name), _map(rule, group), Template, FEEDBACK)
            yield from _variables((*key, group, name, "value"), _map(value), Template, FEEDBACK)


def _answers(key: Key, answers: dict[str, Any]) -> Iterator[Finding]:
    for name in ("sent_when", "refused_when"):
        yield from _variables((*key, name), answers, Condition, ANSWER)
        yield from _undecidable((*key, name), answers, {"answer": {"status": 200}})
    yield from _variables((*key, "campaign_off_when"), answers, Condition, REFUSAL)
    yield from _undecidable((*key, "campaign_off_when"), answers, {"answer": {"status": 422, "text": ""}})
    yield from _variables((*key, "results", "refused_when"), _map(answers, "results"), Condition, RESULT)
    yield from _undecidable((*key, "results", "refused_when"), _map(answers, "results"), {})


def _undecidable(key: Key, holder: dict[str, Any], known: dict[str, Any]) -> Iterator[Finding]:
    """A condition that cannot be decided even with what is `known` of every answer: `answer.status == "200"`."""
    try:
        Condition(str(holder.get(str(key[-1]), "true"))).holds(known)
    except RenderError as error:
        yield Finding(key, str(error))
    except TemplateError:
        return  # the models report it


def _variables(
    key: Key, holder: dict[str, Any], kind: Callable[[str], Template | Condition], scope: Scope
) -> Iterator[Finding]:
    source = holder.get(str(key[-1]))
    if not isinstance(source, str):
        return
    try:
        compiled = kind(source)
    except TemplateError:
        return  # the models report it
    for path, message in mistakes(compiled.paths(), scope):
        yield Finding(key, message, path)
    if isinstance(compiled, Template) and is_bare(source, scope):
        name = source.strip()
        yield Finding(key, f'this is the text {name} for every record; for its value write "{{{{ {name} }}}}"')


def _webhooks(accounts: dict[str, Any]) -> Iterator[Finding]:
    taken = dict.fromkeys(_OWN_PATHS, "the service's own pages")
    for name in accounts:
        path = _map(_map(accounts, name), "webhook").get("path")
        if not isinstance(path, str):
            continue
        if path in taken:
            yield Finding(("pisano", name, "webhook", "path"), f"{path} belongs to {taken[path]}; choose another")
        taken.setdefault(path, f"the account {name}")


def _topics(key: Key, changes: dict[str, Any]) -> Iterator[Finding]:
    known = {topic.family: topic for topic in catalogue()}
    wanted = dict(known)
    for name, settings in changes.items():
        if name not in known:
            yield Finding((*key, name), f"there is no such topic; {one_of(name, known)}")
        elif known[name].retention is None and name not in {memory for _, memory in MEMORIES}:
            why = "its last records are kept for ever, and the number of partitions decides where they are"
            yield Finding((*key, name), f"{name} cannot be changed: {why}")
        else:
            try:
                wanted[name] = known[name].changed_by(TopicSettings.model_validate(settings))
            except ValidationError:
                del wanted[name]  # the models report it
    for work, memory in MEMORIES:
        if {work, memory} <= wanted.keys():
            yield from _memory(key, changes, wanted[work], wanted[memory])


def _memory(key: Key, changes: dict[str, Any], work: Topic, memory: Topic) -> Iterator[Finding]:
    """What was done for a record must be kept in a partition of the same number, and longer than the record."""

    def where(setting: str) -> Key:
        return next((*key, name, setting) for name in (memory.name, work.name) if setting in _map(changes, name))

    if memory.partitions != work.partitions:
        counts = f"{work.name} has {work.partitions} partitions and {memory.name} {memory.partitions}"
        yield Finding(where("partitions"), f"{counts}; they must have the same number")
    kept, remembered = work.retention or math.inf, memory.retention or math.inf
    if remembered < kept + REMEMBERED_LONGER:
        times = f"{work.name} is kept for {kept / 86400:g} days and {memory.name} for {remembered / 86400:g}"
        why = f"it must be at least {REMEMBERED_LONGER / 86400:g} days more, or a replay repeats what was done"
        yield Finding(where("retention"), f"{times}; {why}")


def _limits(key: Key, limits: object) -> Iterator[Finding]:
    """A limit that another limit implies is a mistake."""
    windows: list[tuple[int, Window]] = []
    for index, text in enumerate(_list(limits)):
        try:
            windows.append((index, Window.parse(text)))
        except (ValueError, TypeError):
            continue  # the models report it
    for (_, shorter), (index, longer) in pairwise(windows):
        if not (shorter.seconds < longer.seconds and shorter.limit < longer.limit):
            yield Finding((*key, index), f"limits grow: {longer} is not longer and larger than {shorter} before it")
