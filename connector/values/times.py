"""Times as other systems write them."""


def iso(written: str) -> str:
    """A time in ISO 8601, also when Ruby wrote it: that puts a space before the offset, and writes UTC."""
    head, _, offset = written.rpartition(" ")
    if offset == "UTC" or offset.startswith(("+", "-")):
        return head.rstrip() + offset.removeprefix("UTC")
    return written
