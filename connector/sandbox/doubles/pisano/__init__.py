"""Our stand-in for Pisano: the real protocol on a real port, strict, and with a perfect memory."""

from connector.sandbox.doubles.pisano.double import PisanoDouble
from connector.sandbox.doubles.pisano.model import (
    Call,
    Campaign,
    Customer,
    Delivery,
    Email,
    Fault,
    Flow,
    Question,
    Settings,
    Webhook,
)

__all__ = [
    "Call",
    "Campaign",
    "Customer",
    "Delivery",
    "Email",
    "Fault",
    "Flow",
    "PisanoDouble",
    "Question",
    "Settings",
    "Webhook",
]
