"""The asyncio loops that beat replaces, kept for the migration and for the way back.

They run inside API processes, and only with `NOVA_SCHEDULER=legacy` or `parallel`;
docs/migration.md tells how a fleet gets from one to the other. Nothing else of Nova needs this
package, but for the lifespan of the API and the commands `nova migration`.
"""
