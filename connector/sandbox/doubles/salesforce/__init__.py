"""Our double of Salesforce: it speaks the real protocols on real ports, checks strictly and remembers everything."""

from connector.sandbox.doubles.salesforce.double import SalesforceDouble
from connector.sandbox.doubles.salesforce.model import Call, Channel, Fault, Settings, Stream, Token, Write
from connector.sandbox.doubles.salesforce.tls import Certificate

__all__ = ["Call", "Certificate", "Channel", "Fault", "SalesforceDouble", "Settings", "Stream", "Token", "Write"]
