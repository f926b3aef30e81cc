"""What aiokafka leaves of a producer that was fenced."""

from itertools import chain

from aiokafka import AIOKafkaProducer


def overhear_waiters(producer: AIOKafkaProducer) -> None:
    """For a command that ends after its transactional producer was fenced: asyncio would print tracebacks at the end.

    aiokafka 0.14 never reads the waiters of the transaction and of the batches that failed with the producer.
    """
    accumulator = producer._message_accumulator
    batches = (*chain.from_iterable(accumulator._batches.values()), *accumulator._pending_batches)
    for waiter in (producer._txn_manager._transaction_waiter, *(batch._drain_waiter for batch in batches)):
        if waiter is not None and waiter.done() and not waiter.cancelled():
            waiter.exception()
