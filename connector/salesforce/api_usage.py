"""The org's budget of API calls, as Salesforce says it in a header of each answer (contract: salesforce §D2)."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class ApiUsage:
    """Calls of the last 24 hours by all clients of the org, and how many the org may make."""

    used: int
    limit: int


def api_usage(header: str) -> ApiUsage | None:
    """Reads `Sforce-Limit-Info`, such as `api-usage=10018/100000; api-bursts=1/750`. None if it does not say."""
    found = re.search(r"(?:^|;)\s*api-usage=(\d+)/(\d+)", header)
    return ApiUsage(int(found[1]), int(found[2])) if found else None
