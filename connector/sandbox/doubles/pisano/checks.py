"""What Pisano checks in the body of email_sharings (pisano §3), read as strictly as the contract allows."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from email_validator import EmailNotValidError, validate_email

from connector.sandbox.doubles.pisano.model import Flow, Question

_MAPS = ("custom_attributes", "built_in_responses")
_STANDARD = tuple(Question(key=key) for key in ("name", "external_id", "email", "phone_number"))  # pisano §3.2
_FORMATS = {"date": "%Y-%m-%d", "datetime": "%Y-%m-%d %H:%M:%S"}


def problems(body: Any, flow: Flow, max_emails: int, attributes: Sequence[Question] | None = None) -> list[str]:
    """Everything that is wrong; empty when Pisano would accept the call.

    `attributes` is the customer schema (S8) beside the attributes that every customer has; None allows any attribute.
    """
    if not isinstance(body, dict):
        return ["the body is not an object"]
    found = [f"{key} is not a parameter" for key in body.keys() - {"emails", *_MAPS}]
    emails = body.get("emails")
    if not isinstance(emails, list) or not emails or not all(isinstance(email, str) for email in emails):
        return [*found, "emails is not an array of addresses"]
    if len(emails) > max_emails:
        found.append(f"more than {max_emails} emails")
    if len({email.lower() for email in emails}) != len(emails):
        found.append("an address is there twice")
    found += [f"{email} is not a valid address" for email in emails if not _is_address(email)]
    for name in _MAPS:
        found += _map_problems(name, body.get(name, {email: {} for email in emails}), emails)
    if not found:
        found += _type_problems(body.get("built_in_responses", {}), flow.questions, "a question of the flow")
        if attributes is not None:
            known = (*_STANDARD, *attributes)
            found += _type_problems(body.get("custom_attributes", {}), known, "an attribute of the customer schema")
    return found


def _map_problems(name: str, by_address: Any, emails: list[str]) -> list[str]:
    if not isinstance(by_address, dict) or set(by_address) != set(emails):
        return [f"{name} is not keyed by the addresses of the call"]
    found = []
    for address, values in by_address.items():
        if not isinstance(values, dict):
            found.append(f"{name} of {address} is not an object")
            continue
        found += [
            f"{name}.{key} of {address} is empty" for key, value in values.items() if value is None or value == ""
        ]
        found += [
            f"{name}.{key} of {address} is no single value"
            for key, value in values.items()
            if isinstance(value, dict | list)
        ]
    return found


def _type_problems(by_address: Mapping[str, Mapping[str, Any]], questions: Sequence[Question], what: str) -> list[str]:
    known = {question.key: question for question in questions}
    found = []
    for address, values in by_address.items():
        for key, value in values.items():
            if key not in known:
                found.append(f"{key} of {address} is not {what}")
            elif not _fits(value, known[key]):
                found.append(f"{key} of {address} is not of type {known[key].type}")
    return found


def _fits(value: Any, question: Question) -> bool:
    if question.type == "boolean":
        return isinstance(value, bool)
    if question.type in {"integer", "float"}:
        kinds = (int,) if question.type == "integer" else (int, float, Decimal)
        return isinstance(value, kinds) and not isinstance(value, bool)
    if not isinstance(value, str):
        return False
    if question.type in _FORMATS:
        form = _FORMATS[question.type]
        try:  # Python also reads 2024-9-7
            if datetime.strptime(value, form).strftime(form) != value:  # noqa: DTZ007 - we check only the format
                return False
        except ValueError:
            return False
    return not question.options or value in question.options


def _is_address(email: str) -> bool:
    try:
        validate_email(email, check_deliverability=False)
    except EmailNotValidError:
        return False
    return True
