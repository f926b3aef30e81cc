"""What an error tells its caller to do."""

import pytest

from connector.errors import Retryable


@pytest.mark.parametrize(("named", "waited"), [(None, None), (0.0, 0.0), (300.0, 300.0), (float("inf"), 3600.0)])
def test_nobody_is_waited_for_longer_than_an_hour(named: float | None, waited: float | None) -> None:
    """After an hour the connector tries again: a wrong Retry-After must not hold a stage for years."""
    assert Retryable("away", retry_after=named).retry_after == waited
