"""The file itself: opened once, read line by line, never in one piece."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from nova.errors import InputError
from nova.ingest.models import BadValueError, Tally

#: Longest line in bytes or characters; without a limit a file of one line fills the memory.
MAX_LINE = 1 << 20
BUFFER_BYTES = 1 << 20
BOM = b"\xef\xbb\xbf"


class Source:
    """A file to read, and how far it was read.

    Raises:
        InputError: it cannot be opened or read, is no file, or is empty.
    """

    def __init__(self, path: Path, name: str) -> None:
        #: What messages call the file.
        self.name = name
        try:
            # Closed by __exit__: a Source is its own context manager.
            self.binary: BinaryIO = path.open("rb", buffering=BUFFER_BYTES)
        except OSError as error:
            raise self._unreadable(error) from None
        if not self.binary.seekable():
            self.binary.close()
            raise InputError(f"cannot read {name}: it is read twice, and a pipe is not; save it")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.binary.close()
        if isinstance(error, OSError):  # of the disk: nothing else in here says it so
            raise self._unreadable(error) from error

    @property
    def position(self) -> int:
        """Bytes read so far."""
        return self.binary.tell()

    def first_character(self) -> bytes:
        """Return the first byte that is neither byte order mark nor blank.

        Raises:
            InputError: there is none.
        """
        self.binary.seek(0)
        beginning = self.binary.read(MAX_LINE).removeprefix(BOM).lstrip()
        if not beginning:
            raise InputError(f"{self.name} is empty")
        return beginning[:1]

    def rewind(self) -> BinaryIO:
        """Return the file, at its first byte after a byte order mark."""
        self.binary.seek(0)
        if self.binary.read(len(BOM)) != BOM:
            self.binary.seek(0)
        return self.binary

    def byte_lines(self) -> Iterator[bytes]:
        """Read the lines from the beginning.

        Raises:
            InputError: a line is too long.
        """
        readline = self.rewind().readline
        for number, line in enumerate(iter(lambda: readline(MAX_LINE), b""), start=1):
            if len(line) == MAX_LINE:
                raise self._too_long(number)
            yield line

    def csv_rows(self, tally: Tally) -> Iterator[tuple[int, list[str]]]:
        """Read the rows of a CSV file from its header on, with the line each begins on.

        Blank lines are left out. A row that is no CSV is counted as rejected. Bytes that are
        not UTF-8 come as surrogates: they do no harm in a column that nobody reads.

        Raises:
            InputError: a line is too long.
        """
        reader = csv.reader(self._text_lines())
        while True:
            begin = reader.line_num + 1
            try:
                for row in reader:
                    if row:
                        yield begin, row
                    begin = reader.line_num + 1
            except csv.Error as error:
                tally.rows_read += 1
                tally.reject(begin, BadValueError("", f"is no CSV: {error}"))
            else:
                return

    def _text_lines(self) -> Iterator[str]:
        text = io.TextIOWrapper(
            self.rewind(), encoding="utf-8", errors="surrogateescape", newline=""
        )
        readline = text.readline
        try:
            for number, line in enumerate(iter(lambda: readline(MAX_LINE), ""), start=1):
                if len(line) == MAX_LINE:
                    raise self._too_long(number)
                yield line
        finally:
            # The wrapper would close the file, which is read again.
            text.detach()

    def _unreadable(self, error: OSError) -> InputError:
        return InputError(f"cannot read {self.name}: {error.strerror}")

    def _too_long(self, line: int) -> InputError:
        return InputError(
            f"{self.name}, line {line} is longer than {MAX_LINE:,} characters; "
            "is it a text file with one row a line?"
        )
