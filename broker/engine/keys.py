"""Every key in Redis, in one place.

Keys of a namespace start with ``<prefix>:{<namespace>:0}:``; the braces put all of them into one slot of a cluster,
so that a script touches one slot. ``k`` is the kind (``t`` task, ``d`` data), ``q`` a queue, times are microseconds.

======================  ======  ===============================================================  ====================
key                     type    holds                                                            removed by
======================  ======  ===============================================================  ====================
``item``                hash    id → record ``<enqueued> <due> <spec>\\n<body>``                  ack, cancel, death
``run``                 hash    id → ``<state> <token> <used> <attempts> <lease> <deadline>      with its item
                                <cancel> <spec>``, once delivered; state L leased, O started
                                at most once, W waiting again, X dead
``error``               hash    id → text of the last failed attempt                             with its item
``end:<id>``            string  ``<state> <used> <kind> <queue> <R|E|->[text]``; state S, F, C   its own expiry
``ends``                string  nothing; there as long as any ``end:<id>`` may be                its own expiry
``queue:k:q``           list    ids that are ready, first in first out; may hold stale ones      lease, clear
``stale:k``             hash    q → entries of ``queue:k:q`` that lead nowhere                   lease
``delayed:k:q``         zset    id → due time                                                    promotion, cancel
``leased:k:q``          zset    id → deadline                                                    ack, nack, expiry
``due``                 zset    ``delayed:k:q`` or ``leased:k:q`` → time of its first entry or   advance
                                earlier
``ready:k``             zset    q → priority, of queues with something ready and not paused      lease, pause
``priority:k``          hash    q → priority                                                     set_priority
``paused:k``            set     queues that deliver nothing                                      resume
``seen:k``              hash    q → items ever put in; it and ``priority:k`` have the known      deletion of q
                                queues
``done:k``              hash    q → items ever acknowledged, or delivered with nothing kept      deletion of q
``hungry:k``            set     queues (or ``*``) that a broker waits for                        the next wake
``hungry:xk``           set     dead-letter queues that a broker waits for                       the next wake
``dead:k:<name>``       zset    id → time of death, a dead-letter queue                          redrive, purge
``deadqueues:k``        set     names of dead-letter queues                                      purge
``deaths:k``            hash    q → items that stand in dead-letter queues                       redrive, purge
``watch``               zset    id → end of the wish to hear of its next change                  that change, lookup
``request:<id>``        string  outcome letters of an Enqueue                                    its own expiry
``taken:<id>``          list    dead letters that a request with this id took, five entries      its own expiry
                                each; "" alone once it has said that they arrived
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

A ``dir`` is a directory of things that end by themselves: a hash ``d``, and the zsets ``d:names`` and ``d:ends``; see
``lua/include/directory.lua``.

Outside of any namespace: ``<prefix>:namespaces``, a set of all namespaces in use, and the publish/subscribe channel
``<prefix>:hints``.
"""

from __future__ import annotations


def namespace_prefix(prefix: str, namespace: str) -> str:
    """Start of every key of a namespace; what scripts get as KEYS[1]."""
    return f"{prefix}:{{{namespace}:0}}:"


def namespaces(prefix: str) -> str:
    """Key of the set of namespaces in use."""
    return f"{prefix}:namespaces"


def hints_channel(prefix: str) -> str:
    """Publish/subscribe channel of wake-up hints."""
    return f"{prefix}:hints"
