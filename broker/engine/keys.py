"""Every key in Redis, in one place.

Keys of a namespace start with ``<prefix>:{<namespace>:0}:``; the braces put all of them into one slot of a cluster,
so that a script touches one slot. ``k`` is the kind (``t`` task, ``d`` data), ``q`` a queue, times are microseconds.

======================  ======  ===============================================================  ====================
key                     type    holds                                                            removed by
======================  ======  ===============================================================  ====================
``item``                hash    id → record ``<enqueued> <due> <spec>\\n<body>``                  ack, cancel, death
``run``                 hash    id → ``<state> <token> <used> <attempts> <lease> <deadline>      with its item
                                <cancel> <spec>``, once delivered; state L leased, O leased
                                at most once, W waiting again, X dead; cancel 1 cancelled, 2
                                its worker has not begun it
``error``               hash    id → text of the last failed attempt                             with its item
``end:<id>``            string  ``<state> <used> <kind> <queue> <R|E|X|->[text]``; state S, F,   its own expiry
                                C; X of what has expired
``ends``                string  nothing; there as long as any ``end:<id>`` may be                its own expiry
``queue:k:q``           list    ids that are ready, first in first out; may hold stale ones      lease, clear
``stale:k``             hash    q → entries of ``queue:k:q`` that lead nowhere                   lease
``delayed:k:q``         zset    id → due time                                                    promotion, cancel
``leased:k:q``          zset    id → deadline; ``*<share>`` → deadline of what was leased        ack, nack, expiry
                                together
``shareids:k:q``        hash    share ``<token>.<deadline>`` → its ids, one a line               its last lease
``shareleft:k:q``       hash    share → how many of them are still leased so                     its last lease
``answer:<caller>``     string  15 digits: number of the caller's last lease call; 1 if it has   the caller's next
                                ``copies``; what it leased, packed: terms, queues, ends, tokens  call, arrived, 10
                                                                                                 min
``copies:<caller>``     list    id and record in turn of the at-most-once items of that call     with ``answer``
``unreceived``          zset    token of leases that nobody has said to have received → their    a receipt, advance
                                last end
``trouble``             hash    id → ends without a receipt + 1000 × crashes, where there were   with its item
                                any
``restored:<name>``     string  nothing; a restore of that name has been done                    its own expiry
``expiring:k:q``        zset    id → when to look whether it has waited too long; of items that   lease, cancel, its
                                may wait only so long, and wait                                  time
``due``                 zset    ``delayed:k:q``, ``leased:k:q`` or ``expiring:k:q`` → time of     advance
                                its first entry or earlier
``parkedtasks:k``       set     tasks of which items are parked                                  lease, once empty
``parkedqueues:k:<t>``  set     queues in which items of that task are parked                    lease, once empty
``parkedin:k:q``        set     tasks of which items are parked in that queue                    lease, once empty
``parkedpairs:k``       string  how many pairs of queue and task are parked                      lease, once empty
``parkorder``           string  last order in ``parked``                                         lease, once empty
``parked:k:q:<t>``      zset    id → order; ready items of a task that nobody who asked knows    lease, cancel,
                                                                                                 delete
``aside:k:q``           zset    id → when it was set aside: no delivery can carry it             redrive, delete, a
                                                                                                 replacement
``whyaside``            hash    id → ``<kind> <queue> <why>``, of items that are set aside       with ``aside``
``ready:k``             zset    q → priority, of queues with something ready and not paused      lease, pause
``priority:k``          hash    q → priority                                                     set_priority
``paused:k``            set     queues that deliver nothing                                      resume
``seen:k``              hash    q → items ever put in; it and ``priority:k`` have the known      deletion of q
                                queues
``done:k``              hash    q → items ever acknowledged, or delivered with nothing kept      deletion of q
``hungry:k``            set     queues (or ``*``) that a broker waits for; of more than 20,000   the next wake, its
                                some are dropped                                                 own expiry
``hungry:xk``           set     dead-letter queues that a broker waits for, likewise             likewise
``dead:k:<name>``       zset    id → time of death, a dead-letter queue                          redrive, purge
``deadqueues:k``        set     names of dead-letter queues                                      purge
``deaths:k``            hash    q → items that stand in dead-letter queues                       redrive, purge
``watch``               zset    id → end of the wish to hear of its next change                  that change, lookup
``cancels``             list    ``<id> <token>`` of what was cancelled while it ran, the latest  its own expiry
                                1,000, newest first
``request:<id>``        string  outcome letters of an Enqueue                                    its own expiry
``taken:<id>``          list    dead letters that a request with this id took (5 each), queue    its own expiry
                                each; "" alone once it has said that they arrived
``bytes``               hash    where bytes are limited: total, since (a time), and until what  never
                                was there before has been counted, cursor
``weighed``             set     ids of items that are counted, for so long                       the end of the count
``token``               string  last lease token                                                 never
``schedule``            hash    schedule → ``<spec> <run> <task> <group> <definition> <body>``,   put, delete
                                on lines of their own
``plan``                hash    schedule → ``<state> <due> <run due> <start> <runs>``; state W   with its schedule
                                planned, N no worker, P run pending, S run started
``schedules``           zset    names of schedules, all with score 0                             with its schedule
``timetable``           zset    schedule → when to look at it next                               with its schedule
``stranded``            set     schedules that are due and lack a worker                         the next look
``group:<group>``       set     names of the schedules of a group                                with its schedule
``lock``                dir     lock → ``<length> <owner>``                                      release, its end
``task``                dir     task → ``<registered> <definition>``                             its end: 30 days
``worker``              dir     ``<worker> <stream>`` → ``<skill set> <last report> <info>``     its end: 15 s
``skills``              zset    digest of a skill set → when its last worker is gone             that worker's end
``skilled:<digest>``    zset    worker → its end                                                 its end
``skills:<digest>``     set     names of tasks that workers with this skill set can run          its own expiry
======================  ======  ===============================================================  ====================

A spec may have further words of the form ``<name>=<value>`` at its end, as may the lines of ``schedule`` and ``plan``:
those that a version does not know it keeps and ignores, see ``lua/include/records.lua``. An item whose record or run
cannot be read is set aside by whoever would have handed it out or moved it; a schedule is left alone.

A ``dir`` is a directory of things that end by themselves: a hash ``d``, and the zsets ``d:names`` and ``d:ends``; see
``lua/include/directory.lua``.

Outside of any namespace: ``<prefix>:namespaces``, a set of all namespaces in use; ``<prefix>:generation``, a string,
another one when all data was lost; ``<prefix>:uncounted``, a string, when a broker was last there that counts no bytes;
and the publish/subscribe channels ``<prefix>:hints``, to which all brokers listen,
and ``<prefix>:hints:<format>``, to which those listen that know that format, see ``peers.py``.
"""

from __future__ import annotations


def namespace_prefix(prefix: str, namespace: str) -> str:
    """Start of every key of a namespace; what scripts get as KEYS[1]."""
    return f"{prefix}:{{{namespace}:0}}:"


def cancel_wishes(prefix: str, namespace: str) -> str:
    """Key of the latest wishes to cancel what runs in a namespace."""
    return f"{namespace_prefix(prefix, namespace)}cancels"


def generation(prefix: str) -> str:
    """Key that is another one when Redis has lost its data."""
    return f"{prefix}:generation"


def uncounted(prefix: str) -> str:
    """Key of the time when a broker was last there that counts no bytes."""
    return f"{prefix}:uncounted"


def namespaces(prefix: str) -> str:
    """Key of the set of namespaces in use."""
    return f"{prefix}:namespaces"


def hints_channel(prefix: str) -> str:
    """Publish/subscribe channel of wake-up hints."""
    return f"{prefix}:hints"


def format_channel(prefix: str, number: int) -> str:
    """Channel to which brokers listen that know a format."""
    return f"{hints_channel(prefix)}:{number}"
