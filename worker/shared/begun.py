"""How far items have come in a lane of a task process: a byte for each position, in memory that its connector sees.

A slot writes it, so that nothing has to be told for an item that begins; the connector reads it when the process has
died. A position is the name that an item has between the two; it is used again when the item has been reported.
"""

from __future__ import annotations

#: Positions of a lane. More than it can hold: 8,000 slots, and 8,000 ahead.
RING = 65_536

#: The function has not been called.
NOT_BEGUN = 0
#: It has been, or is about to be.
BEGUN = 1
#: It has returned, and there is only the plain success to tell.
ENDED = 2
