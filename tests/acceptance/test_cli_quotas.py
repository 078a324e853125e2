"""What the command tells of how full namespaces are."""

from __future__ import annotations

from ..support.operating import Command, newest_broker


def test_namespaces_and_doctor_tell_how_full_a_namespace_is(redis_programs: dict[int, str]) -> None:
    with newest_broker(redis_programs, "--max-namespace-items", "5", "--max-namespace-bytes", "1MiB") as broker:
        dibs = Command(broker.address)
        dibs.fill("mail", *"abcd")

        (told,) = dibs.json("namespaces", "--quotas")["namespaces"]
        line = dibs("namespaces", "--quotas").out
        finding = next(one for one in dibs.json("doctor")["checks"] if one["subject"] == "quotas")

        assert told["namespace"] == "default"
        assert told["quotas"]["items"] == {"used": 4, "limit": 5}
        assert told["quotas"]["queues"] == {"used": 1, "limit": None}
        assert "4 of 5" in line
        assert "1 MiB" in line
        assert finding["status"] == "warn"
        assert "4 of 5 items" in finding["text"]

        dibs.fill("mail", "e")
        findings = dibs.json("doctor", code=1)["checks"]
        assert next(one["status"] for one in findings if one["subject"] == "quotas") == "fail"
