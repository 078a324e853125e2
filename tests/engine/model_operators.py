"""What operators do to a namespace, in the model of the engine (see ``model.py``)."""

from __future__ import annotations

from collections.abc import Sequence

from dibs.broker.engine.types import Spec, State

from .model_places import Item, Places, QueueKey, in_order


class Operators(Places):
    """The part of the model that is for operators."""

    def is_known(self, queue: QueueKey) -> bool:
        return queue in self.seen or queue in self.priority

    def pause(self, queue: QueueKey, *, paused: bool) -> bool | None:
        if not self.is_known(queue):
            return None
        changed = (queue in self.paused) is not paused
        if paused:
            self.paused.add(queue)
        else:
            self.paused.discard(queue)
            if changed and self.lists.get(queue):
                self.hungry[queue[0]] -= {queue[1], "*"}
        return changed

    def delete_items(self, ids: Sequence[str]) -> list[bool]:
        there = []
        for id in ids:
            item = self.items.get(id)
            if self.ends.pop(id, None):
                there.append(True)
                continue
            there.append(item is not None)
            if item is not None:
                self._detach(item)
        return there

    def clear(self, queue: QueueKey) -> list[str]:
        """Ids of what was removed."""
        ids = in_order(self.delayed.get(queue, {})) + self.ready(queue)
        self.delayed[queue] = {}
        self.lists[queue] = []
        for id in ids:
            self._leave_expiring(self.items[id])
            self._end(self.items[id], State.CANCELLED)
        return ids

    def forget(self, queue: QueueKey) -> bool:
        if self.lists.get(queue) or self.delayed.get(queue) or self.leased.get(queue):
            return False
        for counts in (self.seen, self.done, self.priority):
            counts.pop(queue, None)
        self.paused.discard(queue)
        return True

    def hasten(self, queue: QueueKey) -> None:
        ids = in_order(self.delayed.get(queue, {}))
        self.delayed[queue] = {}
        self._append(queue, ids)

    def leave_dead(self, name: QueueKey, ids: Sequence[str]) -> list[Item] | None:
        """Takes dead letters (none named: all) out of their queue, by death; nothing happens if one is not there."""
        dead = self.dead.get(name, {})
        if not set(ids) <= set(dead):
            return None
        items = [self.items[id] for id in dict.fromkeys(ids) or in_order(dead)]
        for item in items:
            self._detach(item)
        return items

    def redrive(self, name: QueueKey, ids: Sequence[str]) -> list[Item] | None:
        items = self.leave_dead(name, ids)
        groups: dict[Spec, list[str]] = {}
        for item in items or ():
            self.items[item.id] = item
            self.seen.setdefault(item.queue, 0)
            item.used, item.token, item.error = 0, None, None
            if item.spec.expires_us:
                item.due_us = self.now_us
                self._note_expiring(item, self.now_us + item.spec.expires_us)
            groups.setdefault(item.spec, []).append(item.id)
        for spec, group in groups.items():
            self._append((spec.kind, spec.queue), group)
        return items
