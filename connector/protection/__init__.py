"""Contact protection at the time of the call: may this invitation be sent now, later, or not at all?

The policy is pure: it decides from the configuration, the invitation, what is known of the person and the survey, and
the time. The stage asks it when an invitation comes, and again right before the call.
"""

from connector.protection._actions import Actions
from connector.protection._brake import Brakes
from connector.protection._claims import CLAIMS, Claims, claim_key
from connector.protection._everyone import ContactProtection
from connector.protection._memory import Memory
from connector.protection._people import Listed, People, read_suppression_key, suppression_key
from connector.protection._persons import Hashes, address_key, normal_contact
from connector.protection._policy import Known, Policy
from connector.protection._verdict import Go, Stop, Verdict, Wait

__all__ = [
    "CLAIMS",
    "Actions",
    "Brakes",
    "Claims",
    "ContactProtection",
    "Go",
    "Hashes",
    "Known",
    "Listed",
    "Memory",
    "People",
    "Policy",
    "Stop",
    "Verdict",
    "Wait",
    "address_key",
    "claim_key",
    "normal_contact",
    "read_suppression_key",
    "suppression_key",
]
