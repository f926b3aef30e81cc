"""The fields that surveys and feedback rules name, compared with what Salesforce says about its objects."""

from collections.abc import Iterable, Iterator, Mapping

from connector.config import Config, FeedbackRule, Survey
from connector.config.scope import one_of
from connector.salesforce import misfit
from connector.surveys.kinds import Described, constants

_WRITTEN = ("createable", "updateable")


def objects_of(config: Config) -> set[str]:
    """The objects that the configuration reads or writes."""
    surveys = config.surveys.values()
    read = {survey.on for survey in surveys} | {one.object for survey in surveys for one in survey.lookup.values()}
    return read | {rule.object for rule in config.feedback.values()}


def mistaken_fields(config: Config, objects: Mapping[str, Described]) -> Iterator[str]:
    """In words, each field that an object does not have, or that cannot be written or takes no such value.

    Unknown objects are left out. Describe names only the fields that the user may see, so a field that is hidden from
    the user is named here too.
    """
    for name, survey in config.surveys.items():
        if survey.on in objects:
            own = frozenset().union(*(liquid.fields("record") for liquid in survey.templates()))
            yield from _unknown(f"surveys.{name}", survey.on, own, objects[survey.on])
        yield from _of_lookups(name, survey, objects)
    for name, rule in config.feedback.items():
        if rule.object in objects:
            yield from _of_rule(f"feedback.{name}", rule, objects[rule.object])


def _of_lookups(name: str, survey: Survey, objects: Mapping[str, Described]) -> Iterator[str]:
    for key, lookup in survey.lookup.items():
        if lookup.object in objects:
            named = {*lookup.fields, lookup.key_field, *lookup.where}
            yield from _unknown(f"surveys.{name}.lookup.{key}", lookup.object, named, objects[lookup.object])


def _of_rule(where: str, rule: FeedbackRule, fields: Described) -> Iterator[str]:
    by_name = {field.lower(): about for field, about in fields.items()}  # a write takes names in any capitals
    key = by_name.get(rule.key_field.lower())
    if key is None:
        yield from _unknown(where, rule.object, [rule.key_field], fields)
    elif rule.upsert and not key.get("externalId", True) and not key.get("idLookup"):
        yield f"{where}: {rule.object}.{rule.key_field} is no external id; tick External ID at the field in Salesforce"
    given = constants({field: one.value for field, one in rule.fields.items()})
    for field in rule.fields:
        about = by_name.get(field.lower())
        if about is None:
            yield from _unknown(where, rule.object, [field], fields)
        elif missing := [right for right in _rights(rule) if about.get(right) is False]:
            how = "created" if missing == ["createable"] else "changed"
            yield f"{where}: {rule.object}.{field} cannot be {how} by this user; check its field-level security"
        elif (value := given[field]) is not None and (takes := misfit(about, value)):
            yield f"{where}: {rule.object}.{field} takes {takes}, and not {value}"


def _rights(rule: FeedbackRule) -> tuple[str, ...]:
    return _WRITTEN if rule.upsert else ("updateable",)


def _unknown(where: str, object_name: str, names: Iterable[str], fields: Described) -> Iterator[str]:
    ways = {str(about["relationshipName"]) for about in fields.values() if about.get("relationshipName")}
    for path in sorted(names):
        first, _, rest = path.partition(".")
        known = ways if rest else fields
        if first not in known:
            what = "way to another record" if rest else "field"
            hidden = "or the user may not see it"
            yield f"{where}: {object_name} has no {what} {first}, {hidden}; {one_of(first, known)}"
