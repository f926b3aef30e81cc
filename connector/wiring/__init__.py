"""Wiring: from a configuration to supervised stages, one file a stage."""

from connector.wiring.app import STAGES, App

__all__ = ["STAGES", "App"]
