"""One `TakeDeadLetters` call: the long poll of a consumer of dead letters."""

from __future__ import annotations

import asyncio
import random

from ..border.drain import Drain
from ..border.errors import Draining
from ..engine.engine import Engine
from ..engine.types import StoredItem
from ..messages.dead_letters import TakeCall

#: How often it looks without a hint: hints may be lost.
_LOOK_S = 5.0


async def take_dead_letters(engine: Engine, drain: Drain, call: TakeCall) -> list[StoredItem]:
    """Take what is there, or wait for a first one until the call's time is up.

    Raises:
        Draining: the broker goes away, and nothing was taken.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + call.timeout_s
    queue = call.queue
    look = asyncio.Event()
    with (
        engine.hints.on_dead(queue.namespace, queue.kind, queue.queue, look.set),
        drain.on_begin(look.set),
    ):
        while True:
            look.clear()
            left = deadline - loop.time()
            wait = left > 0 and not drain.begun
            taken = await engine.dead_letters.take(
                queue.namespace,
                queue.kind,
                queue.queue,
                call.max_items,
                room=engine.config.reply_bytes,
                item_bytes=engine.config.item_bytes,
                note_hunger=wait,
                request_id=call.request_id,
                received=call.received_request_id,
            )
            if taken.letters or taken.over or not call.max_items or left <= 0:
                return taken.letters
            if drain.begun:
                raise Draining
            try:
                async with asyncio.timeout(min(left, _LOOK_S * random.uniform(0.75, 1.0))):
                    await look.wait()
            except TimeoutError:
                continue
