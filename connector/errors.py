"""What an error asks of its caller.

    ConnectorError
    ├── Retryable   wait and repeat; the record is not at fault
    ├── Rejected    this record will never be taken; it goes to the dead letters
    ├── Unknown     it may or may not have happened; policy decides
    └── Fatal       a person must change something; the cell that it concerns is held until then

Each system translates its own errors into these in one place: `connector.salesforce.errors`, `connector.pisano.errors`
and `connector.kafka.errors`. A stage decides by type alone.
"""

_LONGEST = 3600.0  # seconds that anybody is waited for at their word; a wrong header must not hold a stage for years


class ConnectorError(Exception):
    """The root of every error that this package raises on purpose. Its message never holds a secret."""


class Retryable(ConnectorError):
    """It did not happen and may work later.

    `retry_after` is in seconds where the other side named a time, an hour at most.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = None if retry_after is None else min(retry_after, _LONGEST)


class Rejected(ConnectorError):
    """The other side refused this very record and would do so again. `code` is its own word for why, if it gave one."""

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code


class Unknown(ConnectorError):
    """The request left us and no answer came that tells whether it was carried out."""


class Fatal(ConnectorError):
    """A person must change something, and the message says what. It holds back the cell that it concerns, no other.

    `whole`: it concerns all that uses the same credential or connection, not only what was asked for.
    """

    def __init__(self, message: str, *, whole: bool = False) -> None:
        super().__init__(message)
        self.whole = whole
