"""Translates Kafka's errors into ours, which tell the caller what to do. No other module does this."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from aiokafka import errors as kafka

from connector.errors import ConnectorError, Fatal, Rejected, Retryable


class Fenced(ConnectorError):
    """Another worker has taken over this producer's work; Kafka stores nothing of its open transaction."""


_FENCED = (kafka.ProducerFenced, kafka.InvalidProducerEpoch)
REFUSED = (kafka.MessageSizeTooLargeError, kafka.RecordTooLargeError, kafka.InvalidMessageError)
_MISCONFIGURED = (
    kafka.AuthenticationFailedError,
    kafka.TopicAuthorizationFailedError,
    kafka.GroupAuthorizationFailedError,
    kafka.ClusterAuthorizationFailedError,
    kafka.TransactionalIdAuthorizationFailed,
    kafka.UnsupportedSaslMechanismError,
    kafka.UnsupportedVersionError,
    kafka.IncompatibleBrokerVersion,
    kafka.InvalidTopicError,
)


@contextmanager
def translated(*, reads: Collection[str] = (), writes: Collection[str] = ()) -> Iterator[None]:
    """Turns the errors that aiokafka raises in the `with` body into ours, which reads or writes these topics.

    Raises:
        Fenced: Another producer has the transactional id now.
        Rejected: This very record is too large or malformed.
        Fatal: Credentials, rights or versions are wrong.
        Retryable: Everything else: a broker is away, a coordinator moves, a request timed out.
    """
    try:
        yield
    except _FENCED as error:
        raise Fenced(f"Kafka: another worker has taken over ({type(error).__name__})") from error
    except REFUSED as error:
        raise Rejected(f"Kafka refused the record: {type(error).__name__}", code="too_large") from error
    except _MISCONFIGURED as error:
        for operation, topics in (("READ", reads), ("WRITE", writes)):
            if topics and isinstance(error, kafka.TopicAuthorizationFailedError):
                raise missing_right(operation, f"Topic {_refused(error, topics)}", error) from error
        raise Fatal(
            f"Kafka refused us: {error!r}. Check kafka.security_protocol, the SASL settings and the rights."
        ) from error
    except (kafka.KafkaError, TimeoutError, OSError) as error:
        raise Retryable(f"Kafka: {error!r}") from error


def _refused(error: kafka.TopicAuthorizationFailedError, topics: Collection[str]) -> str:
    """The topic that the error names; without one, all of them."""
    named = {each for argument in error.args for each in ([argument] if isinstance(argument, str) else argument)}
    return ", ".join(sorted(named & {*topics} or topics))


def may_not_write(error: Retryable) -> bool:
    """Whether a transaction failed because the user may not write to one of its topics.

    aiokafka 0.14 sends the records although Kafka has refused to add the partition, and Kafka answers InvalidTxnState.
    """
    return isinstance(error.__cause__, kafka.InvalidTxnState)


def nothing_came(place: str) -> Retryable:
    """The error of a reader that gets nothing for long, though there are records."""
    return Retryable(
        f"reading {place}: nothing came. If this lasts while Kafka answers, a transaction there has never ended:"
        " docs/kafka.md, Transactions that hang."
    )


def missing_right(operation: str, resource: str, error: BaseException | None) -> Fatal:
    """The error for an operation that Kafka's ACLs do not allow us, such as READ on `Topic a`."""
    said = f" ({error!r})" if error else ""
    return Fatal(
        f"Kafka: the user needs the right {operation} on {resource}{said}. Add it with kafka-acls; `connector acls`"
        " prints all that are needed."
    )
