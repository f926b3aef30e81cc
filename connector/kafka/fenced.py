"""What aiokafka leaves of a producer that failed or was fenced."""

from itertools import chain

from aiokafka import AIOKafkaProducer


def overhear_waiters(producer: AIOKafkaProducer) -> None:
    """For a producer that nobody uses any more: asyncio would log the errors of its waiters with tracebacks.

    aiokafka 0.14 never reads the waiters of the transaction and of the batches that failed with the producer.
    """
    accumulator, transactions = producer._message_accumulator, producer._txn_manager
    batches = (*chain.from_iterable(accumulator._batches.values()), *accumulator._pending_batches)
    waiters = [batch._drain_waiter for batch in batches]
    if transactions is not None:
        waiters.append(transactions._transaction_waiter)
    for waiter in waiters:
        if waiter is not None and waiter.done() and not waiter.cancelled():
            waiter.exception()
