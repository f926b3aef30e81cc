"""The section `pisano.<name>.answers`: what Pisano's answers mean. A § is a section of the contract."""

from connector.config.model import Model
from connector.config.types import Keys, KeysOrAll
from connector.templates import Condition


class Results(Model):
    """Where an answer says what became of each address: a list, or a mapping by address."""

    path: KeysOrAll
    """The keys that lead to it in the body, such as `data.results`. A number is a place in a list, from 0; `.` is the
    whole body."""

    address: Keys = "email"
    """The keys that lead to the address in each entry of a list, such as `user.email`. An entry may also be the address
    itself. Capitals, spaces and a name before the address make no difference."""

    refused_when: Condition | None = None
    """Which entries are refused addresses, over `result`: `result.status == "rejected"`, or `result == "rejected"`
    where a mapping gives a text for each address. Without it, all of them are. Of two entries for an address, one that
    refuses counts. Addresses that are not listed were sent."""


class Answers(Model):
    """What Pisano's answer to a call means. Pisano does not document its answers, so without these settings every 2xx
    means that the e-mails were sent. With `sent_when`, `refused_when` or `results`, the outcome is unknown when the
    answer is cut off or is JSON with a mistake. `connector_pisano_answers_total` shows which answers come. Conditions
    are over `answer`: `answer.status`, `answer.headers` (capitals in names make no difference) and `answer.body`."""

    sent_when: Condition | None = None
    """What must hold for a call to count as sent: `answer.body.message == "accepted"`. If it does not, the outcome is
    unknown, as after a call without an answer."""

    refused_when: Condition | None = None
    """When the call sent nothing: `answer.body.status == "error"`. A call for several addresses is then tried in
    halves; an invitation that is refused alone is rejected."""

    campaign_off_when: Condition = Condition('answer.text contains "provider" or answer.text contains "channel"')
    """Which refusals of a call (a 4xx) mean that the campaign itself cannot send, because it has no provider or its
    channel is not active. Such a refusal holds the campaign and rejects no invitation. Decided over `answer.status` and
    `answer.text`: the answer in small letters, without what the call itself had in it. `false` means none."""

    link: Keys | None = None
    """The keys that lead to the link in the answer to a link sharing, such as `data.link`. Without them, the connector
    takes the only web address in the answer."""  # pisano §3.2: not documented

    results: Results | None = None
    """Where the answer to e-mails or SMS lists addresses; links have none. If it lists some of the call, the list
    decides, and the two conditions do not. If it lists only others, the outcome is unknown unless `sent_when` or
    `refused_when` holds. If it lists others and leaves out some of the call, the outcome is unknown."""
