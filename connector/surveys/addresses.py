"""The customer's e-mail address or phone number, as it goes to Pisano and into the protection of contacts."""

import re

import phonenumbers
from email_validator import EmailNotValidError, validate_email
from phonenumbers import PhoneNumberType

from connector.config import Phones
from connector.masking import mask_emails

_SANDBOX = "example.com"  # older sandboxes made name=domain@example.com of every address; newer ones append .invalid

_NO_SMS = {
    PhoneNumberType.FIXED_LINE,
    PhoneNumberType.PAGER,
    PhoneNumberType.PREMIUM_RATE,
    PhoneNumberType.SHARED_COST,
    PhoneNumberType.TOLL_FREE,
    PhoneNumberType.UAN,
    PhoneNumberType.VOICEMAIL,
}


def normalise_email(raw: str) -> str:
    """The address trimmed, its domain in lower case, Unicode composed.

    Raises:
        ValueError: With the reason, masked: not an address, one that no mail server takes, or one of a sandbox.
    """
    try:
        email = validate_email(raw.strip(), check_deliverability=False, strict=True).normalized
    except EmailNotValidError as error:
        raise ValueError(mask_emails(str(error))) from None
    local, _, domain = email.rpartition("@")
    if domain == _SANDBOX and "=" in local:
        raise ValueError("a Salesforce sandbox made this address from a customer's, so that nobody gets its e-mails")
    return email


def normalise_phone(raw: str, phones: Phones) -> str:
    """The number in the form of E.164: +905330000000.

    Raises:
        ValueError: With the reason, which does not hold the number: not a number, one that takes no SMS, or one that
            the account's `phones` cannot read or write.
    """
    try:
        number = phonenumbers.parse(raw, phones.region)
    except phonenumbers.NumberParseException as error:
        needs = error.error_type == phonenumbers.NumberParseException.INVALID_COUNTRY_CODE and phones.region is None
        why = "it names no country, and the account has no `phones.region`" if needs else "it is not a phone number"
        raise ValueError(why) from None
    if not phonenumbers.is_valid_number(number):
        raise ValueError("there is no such phone number")
    if phonenumbers.number_type(number) in _NO_SMS:
        raise ValueError("it is a fixed line, or another number that takes no SMS")
    if phones.form == "local" and phonenumbers.region_code_for_number(number) != phones.region:
        raise ValueError(f"it is not a number of {phones.region}, and the account's `phones.form` is local")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def phone_of_answer(raw: str, phones: Phones) -> str:
    """The number in an answer as invitations have it; if it cannot be read, without what is no digit and no +."""
    try:
        return normalise_phone(raw, phones)
    except ValueError:
        return re.sub(r"[^+\d]", "", raw)


def separate(value: object) -> list[str]:
    """The addresses in a text, which may have several with semicolons or line breaks between them.

    A comma does not separate: in john,doe@acme.com it is a mistake, and doe may be somebody else.
    """
    return [part for part in (each.strip() for each in re.split(r"[;\r\n]", str(value))) if part]
