"""One module per system that is measured: its app, its tasks, and how the bench drives it.

Every module has `system`, an object with the methods of `drive.System`, and the same three tasks:

    count(number)   one Redis INCR
    empty(number)   nothing
    stamp(number)   leaves in Redis when it started

The modules of arq and dramatiq run in .venv-bench, which has nothing of Nova's: whatever they
import may need the standard library and redis-py only.
"""
