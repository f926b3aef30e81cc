"""Says which invitations wait for a Pisano account that the configuration does not have, so that nobody sends them.

They stay where they are: an account that was renamed or removed by mistake sends them as soon as it is back.
"""

from collections.abc import Collection
from functools import partial

import structlog

from connector.cells import Cells
from connector.config import Kafka
from connector.errors import ConnectorError, Fatal
from connector.kafka.waiting import WAITING, count_besides
from connector.retry import until_done

log = structlog.get_logger(__name__)


async def hold_unknown_accounts(kafka: Kafka, partition: int, accounts: Collection[str], cells: Cells) -> None:
    """Holds the cell of each account besides `accounts` for which invitations wait in this partition.

    The cell is held for as long as this process runs: only another configuration can change the cause.
    """
    try:
        counts = await until_done(partial(count_besides, kafka, partition, accounts))
    except ConnectorError as error:  # the ledgers, which read the same topic, make more of it
        log.warning("waiting_invitations_not_counted", topic=WAITING, partition=partition, reason=str(error))
        return
    for account, count in counts.items():
        reason = (
            f"{count} invitations wait on {WAITING} for the Pisano account {account}, which the configuration does not"
            " have. Nobody sends them until it is back under this name: docs/held.md, An account that is gone"
        )
        cells.at(f"send/{account}").hold(Fatal(reason), "configuration")
