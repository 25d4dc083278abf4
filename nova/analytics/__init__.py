"""Analytics: aggregates, leaderboards, changes and outliers of channels and categories."""
