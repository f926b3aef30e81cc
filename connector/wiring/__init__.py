"""Wiring: builds supervised stages from a configuration, with one file per stage."""

from connector.wiring.app import STAGES, App

__all__ = ["STAGES", "App"]
