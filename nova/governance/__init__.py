"""Governance: scores channels over a window of days, flags them, and enforces the policy."""
