"""The errors, by what the caller must do.

    ConnectorError
    ├── Retryable   wait and repeat; the record is not at fault
    ├── Rejected    the other side will never take this record; it goes to the dead letters
    ├── Unknown     the request may or may not have been carried out; policy decides
    └── Fatal       a person must change something; the stage holds the affected cell until then

Each system has one module that translates its errors into these: `connector.salesforce.errors`,
`connector.pisano.errors` and `connector.kafka.errors`. A stage looks only at the type.
"""

_LONGEST = 3600.0  # seconds: the longest wait we accept from the other side; a wrong header must not stop us for years


class ConnectorError(Exception):
    """The root of every error that this package raises on purpose. Its message never holds a secret."""


class Retryable(ConnectorError):
    """The request was not carried out and may work later.

    `retry_after` is the wait in seconds that the other side named, one hour at most, or None.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = None if retry_after is None else min(retry_after, _LONGEST)


class Rejected(ConnectorError):
    """The other side refused this record and would refuse it again. `code` is its reason code, if it gave one."""

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code


class Unknown(ConnectorError):
    """We sent the request, but no answer says whether it was carried out."""


class Fatal(ConnectorError):
    """A person must change something, and the message says what. The stage holds only the affected cell.

    `whole`: the error affects everything that uses the same credential or connection, not only this request.
    """

    def __init__(self, message: str, *, whole: bool = False) -> None:
        super().__init__(message)
        self.whole = whole
