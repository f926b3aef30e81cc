"""The spool: records that wait on this machine's disk while Kafka is away."""

from connector.spool._spool import Spool

__all__ = ["Spool"]
