"""The number of the format in which Nova keeps its data in Redis: its one home.

A release writes one format, and reads that and others. Two releases may run side by side, and one
may go back to the other, if each reads what the other writes. A change that adds a field to a
model, or a key, is no new format: readers ignore what they do not know, and do without what is not
there. Any other change takes two releases (docs/decisions/0021):

1. expand: READS gets the new number, WRITES stays. Both releases read and write the old format.
2. contract: WRITES gets the new number, and later READS loses the old one, when nothing that is
   kept has it any more.
"""

WRITES = 1
READS = frozenset({1})
