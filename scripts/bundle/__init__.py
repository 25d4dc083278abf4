"""Bundles: one folder with all that hosts without a network need of packages and releases."""


class BundleError(Exception):
    """A bundle cannot be made or used; the message is one line for the person who started it."""
