"""Salesforce's record ids: 15 characters in which capitals matter, or 18 in which they do not.

The last three of the 18 say which of the first 15 are capitals, five of them each (salesforce §D3).
"""

_SUFFIX = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"


def is_id(value: object) -> bool:
    """Whether this has the form of a record id. Only Salesforce knows whether there is such a record."""
    return isinstance(value, str) and value.isascii() and value.isalnum() and len(value) in {15, 18}


def full(record_id: str) -> str:
    """The id with 18 characters. One that has them already is returned as it is."""
    if len(record_id) != 15:
        return record_id
    parts = (record_id[start : start + 5] for start in (0, 5, 10))
    return record_id + "".join(
        _SUFFIX[sum(char.isupper() << place for place, char in enumerate(part))] for part in parts
    )
