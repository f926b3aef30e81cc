"""Our stand-in for Salesforce: the real protocols on real ports, strict, and with a perfect memory."""

from connector.sandbox.doubles.salesforce.double import SalesforceDouble
from connector.sandbox.doubles.salesforce.model import Call, Channel, Fault, Settings, Stream, Token, Write

__all__ = ["Call", "Channel", "Fault", "SalesforceDouble", "Settings", "Stream", "Token", "Write"]
