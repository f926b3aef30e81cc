"""Remembers the traces of invitations, so that an answer that comes days later can be linked to its own."""

from collections.abc import Mapping

from connector.errors import Rejected
from connector.kafka.inbound import InRecord
from connector.observe.tracing import Headers
from connector.records import Invitation, read

_MOST = 100_000  # invitations: some 30 MB; an answer to an older one has no link


class Invited:
    """`correlations` gives, by account, the key of `built_in_responses` with which an answer names its invitation."""

    def __init__(self, correlations: Mapping[str, str], most: int = _MOST) -> None:
        self._correlations = correlations
        self._most = most
        self._traces: dict[tuple[str, str], bytes | None] = {}

    def take(self, record: InRecord) -> None:
        """Takes a record of `pisano.invitations`."""
        try:
            invitation = read(Invitation, record.value)
        except Rejected:
            return  # send says so
        named = invitation.built_in_responses.get(self._correlations.get(invitation.account, ""))
        if named is None or invitation.suppressed:
            return
        place = invitation.account, str(named)
        self._traces.pop(place, None)  # so that it is the newest again
        self._traces[place] = dict(record.headers).get("traceparent")
        if len(self._traces) > self._most:
            del self._traces[next(iter(self._traces))]

    def headers(self, account: str, correlation: str) -> Headers:
        """Those of the last invitation that an answer with this correlation can be to."""
        return [("traceparent", self._traces.get((account, correlation)))]
