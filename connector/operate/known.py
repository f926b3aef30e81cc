"""What the topics say about changes, invitations and answers, as digests: 18 to 36 bytes each."""

import struct
from datetime import datetime

from pydantic import ValidationError

from connector.kafka.cell_work import UNREADABLE
from connector.kafka.inbound import InRecord
from connector.kafka.ledger import read_entry
from connector.records import ChangeEvent, Invitation, Settlement, Write
from connector.values.digests import Digests, digest_of

_TIME = struct.Struct("<d")
_PARKED = struct.Struct("<qi")  # the offset, and the number of its lot


class Known:
    """Call the `take_…` methods in the order of the records in each partition, and after that the others."""

    def __init__(self) -> None:
        self._changes = Digests(_TIME.size)
        self._invited = Digests()
        self._settled = Digests()
        self._waiting = Digests(1)
        self._written = Digests()
        self._letters = Digests()
        self._parked = Digests(_PARKED.size)
        self._lots: dict[tuple[int, bytes | None], int] = {}
        self._done: dict[int, int] = {}  # by the number of the lot: everything before this offset is worked off

    def take_parked(self, record: InRecord) -> None:
        """A record of `connector.parked`."""
        headers = dict(record.headers)
        lot = self._lots.setdefault((record.partition, record.key), len(self._lots))
        if "pk_done" in headers:
            self._done[lot] = int(headers["pk_done"])
        else:
            self._parked.put(_piece(headers, "pk_stage", "pk_cell"), _PARKED.pack(record.offset, lot))

    def take_waiting(self, record: InRecord) -> None:
        """A record of `pisano.waiting`. Its key is the account and the invitation."""
        invitation = (record.key or b"").decode().rpartition("/")[2]
        self._waiting.put(digest_of(invitation), b"\1" if record.value is not None else b"\0")

    def take_outcome(self, record: InRecord) -> None:
        """A record of the ledger. Send reports one that cannot be read."""
        try:
            entry = read_entry(record.value) if record.value is not None else None
        except ValidationError:
            return
        if isinstance(entry, Settlement):
            self._settled.put(digest_of(entry.invitation))

    def take_letter(self, record: InRecord) -> None:
        """A dead letter. One of a record has the record's own headers, with its id in `ce_id`."""
        headers = dict(record.headers)
        if "dl_cell" in headers:
            self._letters.put(_piece(headers, None, "dl_cell"))

    def take_write(self, write: Write) -> None:
        """A write, done or refused."""
        self._written.put(digest_of(f"{write.rule} {write.feedback}"))

    def take_invitation(self, invitation: Invitation) -> None:
        """An invitation, suppressed or not."""
        self._invited.put(digest_of(f"{invitation.survey} {invitation.cause}"))

    def take_change(self, event: ChangeEvent) -> None:
        """A change event of any origin."""
        key, at = digest_of(event.record_id[:15]), event.committed_at.timestamp()
        row = self._changes.get(key)
        if row is None or _TIME.unpack(row)[0] < at:
            self._changes.put(key, _TIME.pack(at))

    def has_change(self, record_id: str, since: datetime) -> bool:
        """Whether there is a change event of this record, committed at `since` or later."""
        row = self._changes.get(digest_of(record_id[:15]))
        return row is not None and bool(_TIME.unpack(row)[0] >= since.timestamp())

    def is_decided(self, event: str, survey: str) -> bool:
        """Whether a change event has an invitation of this survey, is a dead letter, or waits for the held survey."""
        return digest_of(f"{survey} {event}") in self._invited or self._is_aside("trigger", survey, event)

    def is_settled_or_waits(self, invitation: Invitation) -> bool:
        """Whether an invitation has an outcome, waits, or is a dead letter."""
        waits = self._waiting.get(digest_of(invitation.id)) == b"\1"
        cell = f"{invitation.account}/{invitation.survey}"
        return self.is_settled(invitation.id) or waits or self._is_aside("send", cell, invitation.id)

    def is_settled(self, invitation: str) -> bool:
        """Whether the invitation with this id has an outcome."""
        return digest_of(invitation) in self._settled

    def is_written(self, feedback: str, rule: str) -> bool:
        """Whether an answer has a write of this rule, is a dead letter, or waits for the held rule."""
        return digest_of(f"{rule} {feedback}") in self._written or self._is_aside("write", rule, feedback)

    def _is_aside(self, stage: str, cell: str, id_: str) -> bool:
        """Whether it is aside for its cell, or as a record that could not be read, as when its account is gone."""
        return any(self._is_piece_aside(digest_of(f"{stage}/{each} {id_}")) for each in (cell, UNREADABLE))

    def _is_piece_aside(self, piece: bytes) -> bool:
        row = self._parked.get(piece)
        offset, lot = _PARKED.unpack(row) if row else (-1, -1)
        return piece in self._letters or offset >= self._done.get(lot, 0)


def _piece(headers: dict[str, bytes], stage: str | None, cell: str) -> bytes:
    """The digest of a cell and the id of the record that it has to work on."""
    parts = [headers[name].decode() for name in (stage, cell) if name]
    return digest_of(f"{'/'.join(parts)} {headers.get('ce_id', b'').decode(errors='replace')}")
