"""Ingest: files that people really have become channel metrics in Redis.

`docs/formats.md` describes the formats; `nova.ingest.service.ingest_file` is the one way in.
"""

from nova.ingest.models import IngestResult, RowProblem
from nova.ingest.service import ingest_file

__all__ = ["IngestResult", "RowProblem", "ingest_file"]
