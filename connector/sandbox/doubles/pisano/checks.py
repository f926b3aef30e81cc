"""What Pisano checks in the body of a sharing (pisano §3, §3.1), read as strictly as the contract allows."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from email_validator import EmailNotValidError, validate_email

from connector.sandbox.doubles.pisano.model import Channel, Flow, Question

LISTS: Mapping[Channel, str] = {"email": "emails", "sms": "phone_numbers"}
_PHONES = {"e164": r"\+[1-9]\d{6,14}", "local": r"[1-9]\d{5,12}"}
_CUSTOMER = {"email", "phone_number", "name", "external_id"}  # "this set is fixed" (pisano §3.2)
_MAPS = ("custom_attributes", "built_in_responses")
_STANDARD = tuple(Question(key=key) for key in sorted(_CUSTOMER))
_FORMATS = {"date": "%Y-%m-%d", "datetime": "%Y-%m-%d %H:%M:%S"}


@dataclass(frozen=True)
class Sharing:
    """What a call may hold: at most `most` addresses. `phone_form` is how phone numbers are written."""

    channel: Channel
    most: int
    phone_form: str

    def is_address(self, text: str) -> bool:
        return _is_email(text) if self.channel == "email" else re.fullmatch(_PHONES[self.phone_form], text) is not None


def problems(body: Any, flow: Flow, sharing: Sharing, attributes: Sequence[Question] | None = None) -> list[str]:
    """Everything that is wrong; empty when Pisano would accept the call.

    `attributes` is the customer schema (S8) beside the attributes that every customer has; None allows any attribute.
    """
    name = LISTS[sharing.channel]
    if not isinstance(body, dict):
        return ["the body is not an object"]
    found = [f"{key} is not a parameter" for key in body.keys() - {name, *_MAPS}]
    emails = body.get(name)
    if not isinstance(emails, list) or not emails or not all(isinstance(email, str) for email in emails):
        return [*found, f"{name} is not an array of addresses"]
    if len(emails) > sharing.most:
        found.append(f"more than {sharing.most} {name}")
    if len({email.lower() for email in emails}) != len(emails):
        found.append("an address is there twice")
    found += [f"{email} is not a valid address" for email in emails if not sharing.is_address(email)]
    for each in _MAPS:
        found += _map_problems(each, body.get(each, {email: {} for email in emails}), emails)
    if not found:
        found += _type_problems(body.get("built_in_responses", {}), flow.questions, "a question of the flow")
        if attributes is not None:
            known = (*_STANDARD, *attributes)
            found += _type_problems(body.get("custom_attributes", {}), known, "an attribute of the customer schema")
    return found


def link_problems(body: Any, flow: Flow, sharing: Sharing) -> list[str]:
    """Everything that is wrong with the body of a link sharing (pisano §3.2)."""
    if not isinstance(body, dict) or not isinstance(body.get("customer"), dict):
        return ["customer is not an object"]
    customer, answers, options = body["customer"], body.get("built_in_responses", {}), body.get("options", {})
    found = [f"{key} is not a parameter" for key in body.keys() - {"customer", "built_in_responses", "options"}]
    found += [f"{key} is not a field of the customer" for key in customer.keys() - _CUSTOMER]
    found += [
        f"{key} of the customer is no text" for key, value in customer.items() if not value or value != str(value)
    ]
    if not isinstance(options, dict) or not all(isinstance(value, bool) for value in options.values()):
        found.append("options is not an object of true and false")
    if not isinstance(answers, dict) or any(value is None or value == "" for value in answers.values()):
        return [*found, "built_in_responses is not an object of values"]
    if "email" in customer and not _is_email(str(customer["email"])):
        found.append("email of the customer is not a valid address")
    if "phone_number" in customer and not re.fullmatch(_PHONES[sharing.phone_form], str(customer["phone_number"])):
        found.append("phone_number of the customer is not a valid number")
    return found or _type_problems({"the customer": answers}, flow.questions, "a question of the flow")


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


def _is_email(email: str) -> bool:
    try:
        validate_email(email, check_deliverability=False)
    except EmailNotValidError:
        return False
    return True
