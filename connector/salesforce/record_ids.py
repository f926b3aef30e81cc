"""Salesforce's record ids: 15 characters in which capitals matter, or 18 in which they do not.

The last three of the 18 say which of the first 15 are capitals, five of them each (salesforce §D3).
"""

_SUFFIX = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
# The objects whose records people merge, by the start of their ids: only these have MasterRecordId (the object
# reference, and Salesforce's list of key prefixes).
_MERGEABLE = {"001": "Account", "003": "Contact", "500": "Case", "00Q": "Lead"}


def is_id(value: object) -> bool:
    """Whether this has the form of a record id. Only Salesforce knows whether there is such a record."""
    return isinstance(value, str) and value.isascii() and value.isalnum() and len(value) in {15, 18}


def mergeable(value: object) -> str | None:
    """The object of a record id, if people can merge records of that object. None for all else."""
    return _MERGEABLE.get(str(value)[:3]) if is_id(value) else None


def can_be_merged(object_name: str) -> bool:
    """Whether people can merge records of this object."""
    return object_name.lower() in {name.lower() for name in _MERGEABLE.values()}


def full(record_id: str) -> str:
    """The id with 18 characters. One that has them already is returned as it is."""
    if len(record_id) != 15:
        return record_id
    parts = (record_id[start : start + 5] for start in (0, 5, 10))
    return record_id + "".join(
        _SUFFIX[sum(char.isupper() << place for place, char in enumerate(part))] for part in parts
    )
