"""The sandbox: both doubles, set up as an org and an account that know each other, and made-up customers."""

from connector.sandbox.company import Sandbox, sandbox

__all__ = ["Sandbox", "sandbox"]
