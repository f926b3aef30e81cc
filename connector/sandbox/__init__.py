"""The sandbox: both doubles, set up as an org and an account that fit together, and made-up customers."""

from connector.sandbox.company import Sandbox, sandbox

__all__ = ["Sandbox", "sandbox"]
