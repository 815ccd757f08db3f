"""Vigil: a Pacemaker-style cluster resource manager."""

__version__ = "0.1.0"
