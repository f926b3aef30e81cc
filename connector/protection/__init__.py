"""Contact protection at the time of the call: may this invitation be sent now, later, or not at all?

The policy is pure: it decides from the configuration, the invitation, what is known of the person (`Known`) and the
time. The stage asks it when an invitation comes, and again right before the call.
"""

from connector.protection._policy import Policy
from connector.protection._verdict import Go, Known, Stop, Verdict, Wait

__all__ = ["Go", "Known", "Policy", "Stop", "Verdict", "Wait"]
