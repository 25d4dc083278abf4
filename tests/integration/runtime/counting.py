"""What the tasks of `counting_app` write."""

DIED, EFFECT = "test:died", "test:effect"
