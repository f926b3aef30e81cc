"""Times as other systems write them."""

from datetime import timedelta

# How far the time of an answer may be ahead of our clock: without a zone it may be 14 h. One further ahead is of a
# wrong clock, and would supersede all answers until then. Earlier versions took and wrote such times.
AHEAD = timedelta(days=1)


def iso(written: str) -> str:
    """A time in ISO 8601, also when Ruby wrote it: that puts a space before the offset, and writes UTC."""
    head, _, offset = written.rpartition(" ")
    if offset == "UTC" or offset.startswith(("+", "-")):
        return head.rstrip() + offset.removeprefix("UTC")
    return written
