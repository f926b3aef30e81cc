"""Keeps several call limits at once, in every window of each length."""

from connector.limits.policy import Window
from connector.limits.stacked import StackedLimiter, Usage

__all__ = ["StackedLimiter", "Usage", "Window"]
