"""Faults, injected for real, and a ledger that counts what they cost: `make fault`."""
