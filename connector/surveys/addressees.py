"""Who is invited for a change: the addresses that a survey's templates give, each with what speaks against it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from connector.config import Phones, Survey
from connector.errors import Rejected
from connector.reasons import Reason
from connector.surveys.addresses import normalise_email, normalise_phone, separate
from connector.surveys.lookups import Lookups, stripped

_MOST = 100  # of one record: more is a wrong field, and its invitations would be published at once


class Addressee(NamedTuple):
    """An address, why it is not invited, and more words. Without an address, nobody is, unless a link needs none."""

    address: str | None
    reason: Reason | None = None
    detail: str | None = None


class Addressees:
    """`phones` is the account's setting. `gone` has the reason for each lookup whose record is missing."""

    def __init__(self, survey: Survey, lookups: Lookups, phones: Phones) -> None:
        self._survey = survey
        self._phones = phones
        self._behind_address = lookups.behind(survey.address)
        self._behind_opt_out = lookups.behind(survey.protect.opted_out)

    def opted_out(self, scope: Mapping[str, Any], gone: Mapping[str, str]) -> Addressee | None:
        """Why nobody is asked, whatever the addresses: the customer opted out, or maybe did."""
        if unknown := [gone[name] for name in gone if name in self._behind_opt_out]:
            return Addressee(None, Reason.RECORD_GONE, "; ".join(unknown))
        opted_out = self._survey.protect.opted_out
        is_out = opted_out is not None and stripped(opted_out.render(scope)) not in {None, False, "false"}
        return Addressee(None, Reason.OPTED_OUT) if is_out else None

    def of(self, scope: Mapping[str, Any], gone: Mapping[str, str]) -> list[Addressee]:
        """Each address, or one reason without an address.

        Raises:
            Rejected: `email`, `phone` or `opted_out` cannot be rendered, or there are more than 100 addresses.
        """
        out = self.opted_out(scope, gone)
        if out and out.reason is Reason.RECORD_GONE:
            return [out]
        each = self.addresses(scope, gone)
        return each if out is None else [one if one.reason else one._replace(reason=out.reason) for one in each]

    def addresses(self, scope: Mapping[str, Any], gone: Mapping[str, str]) -> list[Addressee]:
        """The same, whether or not the customer opted out."""
        address = self._survey.address
        found = [part for value in address.render_all(scope) for part in separate(value)] if address else []
        missing = [gone[name] for name in gone if name in self._behind_address]
        if not found and (missing or self._survey.channel != "link"):
            return [Addressee(None, Reason.RECORD_GONE if missing else Reason.NO_ADDRESS, "; ".join(missing) or None)]
        if len(found) > _MOST:
            name = "email" if self._survey.phone is None else "phone"
            raise Rejected(f"`{name}` gives {len(found)} addresses; {_MOST} is the most", code="many_addresses")
        each: dict[str, Addressee] = {} if found else {"": Addressee(None)}
        for one in map(self._read, found):
            each.setdefault(str(one.address).lower(), one)
        return list(each.values())

    def _read(self, raw: str) -> Addressee:
        try:
            right = normalise_email(raw) if self._survey.phone is None else normalise_phone(raw, self._phones)
        except ValueError as error:
            return Addressee(raw, Reason.INVALID_ADDRESS, str(error))
        return Addressee(right)
