"""What each kind of Kafka error tells the caller to do (rule 3)."""

import pytest
from aiokafka import errors as kafka

from connector.errors import ConnectorError, Fatal, Rejected, Retryable
from connector.kafka.errors import Fenced, translated


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (kafka.ProducerFenced(), Fenced),
        (kafka.InvalidProducerEpoch(), Fenced),
        (kafka.MessageSizeTooLargeError(), Rejected),
        (kafka.TransactionalIdAuthorizationFailed("capture"), Fatal),
        (kafka.TopicAuthorizationFailedError("topic"), Fatal),
        (kafka.GroupAuthorizationFailedError("group"), Fatal),
        (kafka.AuthenticationFailedError(), Fatal),
        (kafka.KafkaConnectionError(), Retryable),
        (kafka.NotEnoughReplicasError(), Retryable),
        (kafka.OutOfOrderSequenceNumber(), Retryable),
        (kafka.KafkaError("Unexpected error during batch delivery"), Retryable),
        (TimeoutError(), Retryable),
        (ConnectionResetError(), Retryable),
    ],
)
def test_error_says_what_the_caller_can_do(error: Exception, expected: type[ConnectorError]) -> None:
    with pytest.raises(ConnectorError) as caught, translated():
        raise error
    assert type(caught.value) is expected
