"""Maintenance: removes from Redis what nobody needs any more, a slice at a time.

docs/maintenance.md says what it may remove, and what it never touches.
"""
