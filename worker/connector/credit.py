"""By how much to change the credit that a broker has: arithmetic only."""

from __future__ import annotations


def credit_change(room: int, on_wire: int, *, slots: int, held: int, ahead: int) -> int:
    """By how much to change the credit that the broker has.

    Small additions are left to gather, or every finished item would fetch its successor alone; unless a slot would
    stand idle for it. Nor is a little taken back: task times waver, and an item that the broker has leased by then
    would go back to its queue in vain. When tasks turn long `ahead` is small, and so is what counts as a little.

    Args:
        room: for so many more items there is room.
        on_wire: credit that the broker still has, below 0 if credit was taken back late.
        slots: slots of the process.
        held: items that it holds, running or not.
        ahead: items that it holds ready.

    Returns:
        items to add; negative: to take back.
    """
    change = room - on_wire
    if change > 0 and change < ahead // 4 and held + on_wire >= slots:
        return 0
    if change < 0 and -change <= ahead // 2:
        return 0
    return max(change, -on_wire) if change < 0 < on_wire else max(change, 0)
