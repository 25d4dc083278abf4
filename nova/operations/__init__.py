"""What an operator's work on the fleet needs: lock, audit, releases, checks; docs/releases.md."""
