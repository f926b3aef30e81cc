"""E-mail addresses as they may stand in logs and error messages (rule 9)."""

import re

_ADDRESS = re.compile(r"""([^\s@%<>"'`,;:|\\\[\]{}()=]+)(@|%40)([^\s@<>"'`,;:|\\\[\]{}()=&]+)""")


def mask_email(address: str) -> str:
    """`jane.doe@example.com` becomes `j***@example.com`; what is not an address becomes `***`."""
    local, at, domain = address.strip().rpartition("@")
    return f"{local[:1]}***@{domain}" if local and at and domain else "***"


def mask_emails(text: str) -> str:
    """The text with every address in it masked, URL-encoded ones too."""
    return _ADDRESS.sub(lambda found: f"{found[1][:1]}***{found[2]}{found[3]}", text)
