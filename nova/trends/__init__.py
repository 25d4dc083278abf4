"""Trends: topics that rise in what sources show, and those of them that we do not cover."""
