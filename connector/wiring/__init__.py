"""Wiring: builds supervised stages from a configuration, with one file per stage."""

from connector.wiring.app import ALL_STAGES, STAGES, App

__all__ = ["ALL_STAGES", "STAGES", "App"]
