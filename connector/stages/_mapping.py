"""What a feedback rule makes from a webhook's body: a write, if the rule applies."""

from collections.abc import Mapping
from typing import Any

from connector.config import FeedbackRule
from connector.errors import Rejected
from connector.records import Feedback, Scalar
from connector.salesforce import CallOptions, Choice, RecordWrite, text_of
from connector.templates import RenderError

Scope = Mapping[str, Any]


def scope_of(feedback: Feedback, answer: str) -> Scope:
    """What a rule's templates can name. `answer` is the id of the answer that the feedback is, or repeats."""
    return {
        "feedback": {"id": answer, "account": feedback.account, "received_at": feedback.received_at.isoformat()},
        "body": _lenient(feedback.body),
    }


def may_apply(rule: FeedbackRule, scope: Scope) -> bool:
    """False when the rule's condition does not hold. True when it does, or when we cannot decide: its work says why."""
    try:
        return rule.when is None or rule.when.holds(scope)
    except Rejected:
        return True


class RuleWrites:
    """Makes a rule's writes."""

    def __init__(self, rule: FeedbackRule) -> None:
        self._rule = rule
        self._choices = {
            name: Choice(field.when_empty or rule.when_empty, field.does_not_fit or rule.does_not_fit)
            for name, field in rule.fields.items()
        }
        self._options = CallOptions(auto_assign=rule.auto_assign, save_duplicates=rule.duplicates == "save")

    def planned(self, scope: Scope) -> RecordWrite | None:
        """The rule's write; None when the rule does not apply.

        Raises:
            Rejected: There is no key, the condition cannot be decided, or a value that must fit cannot be rendered.
        """
        rule = self._rule
        if rule.when is not None and not rule.when.holds(scope):
            return None
        fields: dict[str, Scalar | None] = {}
        left_out: dict[str, str] = {}
        for name, field in rule.fields.items():
            try:
                fields[name] = field.value.render(scope)
            except RenderError as error:
                if self._choices[name].does_not_fit == "refuse":
                    raise Rejected(
                        f"{name}: {error}. The field has does_not_fit: refuse. Nothing was written"
                    ) from error
                left_out[name] = str(error)
        return RecordWrite(
            operation="upsert" if rule.upsert else "update",
            object=rule.object,
            key_field=rule.key_field,
            key=_key(rule, scope),
            fields=fields,
            left_out=left_out,
            choices=self._choices,
            options=self._options,
        )


def _key(rule: FeedbackRule, scope: Scope) -> str:
    template = rule.by[rule.key_field]
    value = template.render(scope)
    if value is None:
        raise Rejected(f"the feedback has no value for {rule.key_field}: {template} is empty", code="no_key")
    try:
        return text_of(value).strip()
    except ValueError as error:
        raise Rejected(f"{rule.key_field}: {template} gives a number with too many digits", code="no_key") from error


class _Mapping(dict[str, Any]):
    """A webhook's body, or a mapping in it. A key that Pisano's template left out is empty: the admin writes that
    template by hand.
    """

    def __missing__(self, key: str) -> None:
        return None


class _List(list[Any]):
    """A list in a webhook's body. An item that is not there is empty too."""

    def __getitem__(self, place: Any) -> Any:
        try:
            return super().__getitem__(place)
        except IndexError:
            return None


def _lenient(value: Any) -> Any:
    """An empty text is no value, because Pisano renders an unanswered question so (pisano §4)."""
    match value:
        case "":
            return None
        case dict():
            return _Mapping({name: _lenient(inner) for name, inner in value.items()})
        case list():
            return _List(_lenient(inner) for inner in value)
        case _:
            return value
