"""Our double of Pisano: it speaks the real protocol on a real port, checks strictly and remembers everything."""

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
