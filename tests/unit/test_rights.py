"""The table of what each method needs."""

from __future__ import annotations

from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from dibs.broker.border import reflection
from dibs.broker.border.rights import TABLE, rights_table
from dibs.broker.config.principals import Role
from dibs.v1 import admin_pb2, broker_pb2, lock_pb2

from ..support.imports import SOURCES

FILES = (broker_pb2, admin_pb2, lock_pb2, health_pb2)


def test_every_method_has_a_row_and_there_are_no_others() -> None:
    served = {
        (service.full_name, method.name)
        for file in FILES
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    [asked] = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"].methods
    served |= {(name, asked.name) for name in reflection.NAMES}
    # Versions of the package differ in whether they have it.
    served.add(("grpc.health.v1.Health", "List"))

    assert served == set(TABLE)


def test_nothing_but_the_probe_is_open_to_everybody() -> None:
    assert [method for method, right in TABLE.items() if right is None] == [("grpc.health.v1.Health", "Check")]


def test_the_roles_of_the_table_are_those_that_there_are() -> None:
    used = {role for right in TABLE.values() if right is not None for role in right.roles}
    assert used | {Role.CONTENT, Role.ADMIN} == set(Role)


def test_every_stream_and_every_call_that_may_wait_is_looked_at_again() -> None:
    for file in FILES:
        for service in file.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                right = TABLE[service.full_name, method.name]
                waits = {"timeout", "get_timeout"} & set(method.input_type.fields_by_name)
                if right is not None and (waits or method.server_streaming or method.client_streaming):
                    assert right.lasts, method.full_name


def test_the_page_has_the_table() -> None:
    assert rights_table() in (SOURCES / "docs/security.md").read_text()
