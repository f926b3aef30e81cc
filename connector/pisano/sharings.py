"""Asks Pisano to send a survey by e-mail or SMS, or to make a link to it (pisano §3)."""

import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from urllib.parse import quote

import httpx
import phonenumbers

from connector.errors import Fatal, Rejected
from connector.pisano._http import Answer, post_json
from connector.pisano.answers import AnswerRules
from connector.pisano.auth import Auth, token_of
from connector.pisano.errors import RETRY_STATUSES, TokenRenewed, Unclear, excerpt, from_answer, from_transport, masked
from connector.records import Channel, Invitation, Scalar
from connector.values import exact

_EVERY_2XX = AnswerRules()
_LINK = re.compile(rb"""https?:\\?/\\?/[^\s"'<>]+""")  # also as some systems write it in JSON: https:\/\/
_PATHS: Mapping[Channel, str] = {
    "email": "/v1/email_campaigns/{}/email_sharings",
    "sms": "/v1/sms_campaigns/{}/sms_sharings",
    "link": "/external/v1/link_sharings/{}/generate_link",
}
_LISTS: Mapping[Channel, str] = {"email": "emails", "sms": "phone_numbers"}

PhoneForm = Literal["e164", "local"]


@dataclass(frozen=True)
class Recipient:
    """`address` is a normalised e-mail address, or a phone number in the form of E.164. Only a link may have none.

    The call leaves out values that are None or empty (pisano §10).
    """

    address: str = field(repr=False)
    custom_attributes: Mapping[str, Scalar | None] = field(default_factory=dict, repr=False)
    built_in_responses: Mapping[str, Scalar | None] = field(default_factory=dict, repr=False)
    channel: Channel = "email"

    def written(self, form: PhoneForm) -> str:
        """The address as a call writes it. Raises Rejected for a number that is not in the form of E.164."""
        if "@" in self.address or not self.address or form == "e164":
            return self.address
        try:
            return phonenumbers.national_significant_number(phonenumbers.parse(self.address))
        except phonenumbers.NumberParseException:
            raise Rejected("the phone number is not in the form of E.164, so nothing was sent", code="phone") from None


def recipient(invitation: Invitation) -> Recipient:
    """The invitation as a recipient of a call."""
    values = invitation.custom_attributes, invitation.built_in_responses
    return Recipient(invitation.address or "", *values, invitation.channel)


@dataclass(frozen=True)
class Accepted:
    """Pisano's 2xx to a call. `refused` are the addresses that were sent nothing: all, if the answer lists all.

    `text` is the answer for a person to read, cut to 64 kB, without token and link, and with addresses masked.
    """

    text: str | None
    link: str | None = field(default=None, repr=False, kw_only=True)
    refused: frozenset[str] = field(default=frozenset(), repr=False)


class Sharings:
    """Makes the calls of one account. The caller counts each request before it is made here.

    `rules` say what a 2xx means. `saw(status, body)` is told about every answer. `retry_statuses` are statuses after
    which nothing can have been sent. `phone_form` is how calls write phone numbers. Time-outs are in seconds. `clock`
    returns seconds since the epoch.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        base_url: str,
        auth: Auth,
        *,
        rules: AnswerRules = _EVERY_2XX,
        saw: Callable[[int, bytes], None] = lambda *_: None,
        retry_statuses: Collection[int] = RETRY_STATUSES,
        phone_form: PhoneForm = "e164",
        connect_timeout: float = 10.0,
        timeout: float = 60.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._http = http
        self._base_url = base_url.rstrip("/")
        self._auth = auth
        self._rules = rules
        self._saw = saw
        self._retry_statuses = retry_statuses
        self._phone_form: PhoneForm = phone_form
        self._connect_timeout = connect_timeout
        self._timeout = timeout
        self._clock = clock
        self._was_refused = False  # Pisano's last answer was a 401, so a second one means the account, not the token

    async def send(self, campaign: str, recipients: Sequence[Recipient]) -> Accepted:
        """Make one call and return Pisano's answer, if something was sent or each of several addresses was refused.

        The recipients have one channel, and `campaign` is a campaign of that channel.

        Raise TokenRenewed when there was no valid token, or Pisano refused it: then nothing was carried out, and the
        repeat needs a new permit. To waste no permit, await `auth.header()` before taking one.
        Raise Throttled, Retryable, Rejected, Unknown or Fatal as `connector.pisano.errors` says. Raise ValueError when
        there is no recipient, or when an address occurs twice: the call's maps hold each address only once.
        """
        body, channel = call_body(recipients, self._phone_form), recipients[0].channel
        call = f"{channel}_sharings of campaign {campaign} for {len(recipients)} address(es)"
        header = self._auth.current()
        if header is None:
            # The token call may wait minutes for its permit, and then the caller's own permit is stale.
            await self._auth.header()
            raise TokenRenewed(f"{call}: the token had to be fetched first.", retry_after=0.0)
        url = self._base_url + _PATHS[channel].format(quote(campaign, safe=""))
        try:
            answer = await post_json(
                self._http,
                url,
                body,
                authorization=header,
                connect_timeout=self._connect_timeout,
                timeout=self._timeout,
            )
        except (httpx.HTTPError, TimeoutError) as error:
            raise from_transport(error, call, repeatable=False) from error
        self._saw(answer.status, answer.body)
        self._check(answer, call, header, campaign, recipients)
        return self._accepted(answer, call, header, recipients)

    def _accepted(self, answer: Answer, call: str, header: str, recipients: Sequence[Recipient]) -> Accepted:
        """What a 2xx means for the recipients, by the account's rules."""
        hide, is_link = self._hidden(header, recipients), recipients[0].channel == "link"
        body = _LINK.sub(b"***", answer.body) if is_link else answer.body  # whoever has the link can answer
        said = f"{call}: Pisano answered {answer.status} ({excerpt(body, hide)})"
        written = {each.written(self._phone_form): each.address for each in recipients}
        rules = replace(self._rules, results=None) if is_link else self._rules  # a link goes to no address
        try:
            refused = rules.refused(answer, written)
            link = self._rules.link(answer) if is_link else None
        except Rejected as error:
            raise Rejected(f"{said}, and {error}", code=error.code) from error
        except Unclear as error:
            raise Unclear(f"{said}, and {error}") from error
        if refused and len(recipients) == 1:
            raise Rejected(f"{said}, and its results refuse the address", code="refused_by_answer")
        if is_link and link is None:
            raise Fatal(
                f"{said}, which does not hold exactly one link. Nothing was sent. Name the link's place in the"
                " account's `answers.link`."
            )
        return Accepted(masked(body, hide) or None, frozenset(written[each] for each in refused), link=link)

    def _hidden(self, header: str, recipients: Sequence[Recipient]) -> tuple[str, ...]:
        """What no message may hold: the token and the phone numbers. Addresses with an @ are masked anyway."""
        numbers = {each.written(self._phone_form) for each in recipients if "@" not in each.address}
        return (token_of(header), *sorted(number.removeprefix("+") for number in numbers))

    def _check(self, answer: Answer, call: str, header: str, campaign: str, recipients: Sequence[Recipient]) -> None:
        if answer.status == 401:
            renewed, self._was_refused = self._was_refused, True
            if self._auth.invalidate(header) and not renewed:
                raise TokenRenewed(f"{call}: Pisano answered {answer.status} to the token.", retry_after=0.0)
        else:
            self._was_refused = False
        if answer.status == 404:
            raise Fatal(
                f"{call}: Pisano answered 404. Check base_url, that this account has the campaign {campaign} for the"
                f" channel {recipients[0].channel}, and that the account's user may see it. Otherwise change the"
                " survey's campaign."
            )
        if 200 <= answer.status < 300:
            return
        hide = self._hidden(header, recipients)
        error = from_answer(
            answer, call, repeatable=False, retry_statuses=self._retry_statuses, hide=hide, clock=self._clock
        )
        if type(error) is Rejected and self._rules.says_campaign_is_off(answer, _texts(recipients)):
            raise Fatal(
                f"campaign {campaign} sends nothing: Pisano says that it has no provider or that its channel is not"
                f" active ({excerpt(answer.body, hide)}). Change that in Pisano; the connector tries again by itself."
            )
        raise error


def call_body(recipients: Sequence[Recipient], phone_form: PhoneForm = "e164") -> bytes:
    """The addresses, and two maps with an object for each address, even if it is empty (pisano §3, S1 shape).

    The body for a link is about its only recipient.

    Raises:
        Rejected: A value cannot be written as JSON.
        ValueError: There is no recipient, an address occurs twice, or a link has several recipients.
    """
    addresses = [each.written(phone_form) for each in recipients]
    if not addresses or len(set(addresses)) != len(addresses):
        raise ValueError("a call carries at least one address, and each address once")
    if recipients[0].channel == "link" and len(recipients) > 1:
        raise ValueError("a call makes one link")
    body = _link_body if recipients[0].channel == "link" else _body
    try:
        return exact.dumps(body(addresses, recipients))
    except ValueError as error:
        raise Rejected(f"the call cannot be written, so nothing was sent: {error}", code="unwritable") from error


def _body(addresses: Sequence[str], recipients: Sequence[Recipient]) -> dict[str, Any]:
    each = dict(zip(addresses, recipients, strict=True))
    return {
        _LISTS[recipients[0].channel]: addresses,
        "custom_attributes": {address: _present(r.custom_attributes) for address, r in each.items()},
        "built_in_responses": {address: _present(r.built_in_responses) for address, r in each.items()},
    }


def _link_body(addresses: Sequence[str], recipients: Sequence[Recipient]) -> dict[str, Any]:
    """pisano §3.2: `customer` must be there, and may be empty."""
    (address,), (recipient,) = addresses, recipients
    reached = {"email" if "@" in address else "phone_number": address}
    customer = _present({**reached, **recipient.custom_attributes})
    return {"customer": customer, "built_in_responses": _present(recipient.built_in_responses)}


def _texts(recipients: Sequence[Recipient]) -> set[str]:
    """Every text in a call, which an answer may repeat."""
    maps = [each for r in recipients for each in (r.custom_attributes, r.built_in_responses)]
    return {r.address for r in recipients} | {str(text) for each in maps for pair in each.items() for text in pair}


def _present(values: Mapping[str, Scalar | None]) -> dict[str, Scalar]:
    return {key: value for key, value in values.items() if value is not None and value != ""}
