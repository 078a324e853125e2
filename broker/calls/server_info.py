"""What a broker tells of itself, its settings and its Redis."""

from __future__ import annotations

from datetime import timedelta

from pydantic import BeforeValidator

from dibs.contract.sizes import format_size, parse_size
from dibs.v1 import admin_pb2 as pb

from ..border.audit_log import AuditLog
from ..border.caller import caller_sees
from ..border.identities import Identities
from ..border.tls import Tls
from ..config.limits import Limits
from ..config.redis_url import shown_redis_url
from ..config.units import format_span
from ..engine.engine import Engine
from ..engine.errors import ReadOnly, Refused, Unavailable
from ..messages.announcing import announcement
from ..messages.enums import timestamp
from ..messages.rooms import fitting_names
from ..upkeep.identity import Identity

#: Namespaces that are listed.
_MAX_NAMESPACES = 1000


async def server_info(
    engine: Engine,
    identity: Identity,
    settings: Limits,
    tls: Tls | None = None,
    identities: Identities | None = None,
    audit: AuditLog | None = None,
) -> pb.GetServerInfoResponse:
    """Everything; what is about Redis stays empty while it does not answer."""
    response = pb.GetServerInfoResponse(
        version=identity.version,
        broker_id=identity.id,
        start_time=timestamp(int(identity.started * 1e6)),
        settings=[pb.Setting(name=name, value=value) for name, value in listed(settings)],
        limits=announcement(settings.announced),
    )
    if tls is not None:
        response.tls_expire_time.FromDatetime(tls.current.expires)
        if tls.current.client_ca_expires is not None:
            response.tls_client_ca_expire_time.FromDatetime(tls.current.client_ca_expires)
    try:
        state = await engine.server_state()
        namespaces = [name for name in await engine.namespaces() if caller_sees(name)][:_MAX_NAMESPACES]
    except Unavailable as error:
        response.advices.extend(_why_not_ready(error))
        return response
    response.redis_version = state.name
    response.redis_ready = True
    response.redis_latency.FromMicroseconds(int(state.latency_s * 1e6))
    response.redis_time.CopyFrom(timestamp(state.now_us))
    response.redis_memory_bytes = state.memory_bytes
    response.redis_max_memory_bytes = state.max_memory_bytes
    response.advices.extend(pb.Advice(reason=advice.reason, text=advice.text) for advice in state.advices)
    # Where Redis is away all advice is about that.
    response.advices.extend(_about(tls))
    response.advices.extend(_about_callers(identities))
    if audit is not None and (audit.complaint or audit.lost):
        said = f"{audit.complaint}, " if audit.complaint else ""
        text = f"{said}{audit.lost} lines of the audit log were lost since this broker began"
        response.advices.append(pb.Advice(reason="AUDIT_LOG_LOST", text=text))
    response.namespaces.extend(fitting_names(namespaces, engine.config.reply_bytes - response.ByteSize()))
    return response


async def quotas(engine: Engine, namespace: str) -> list[pb.QuotaUse]:
    """How full a namespace is."""
    use, most = await engine.quotas.use(namespace), engine.quotas.of(namespace)
    return [
        pb.QuotaUse(quota=quota, used=used, limit=limit)
        for quota, used, limit in zip(use._fields, use, most, strict=True)
    ]


def _about(tls: Tls | None) -> list[pb.Advice]:
    if tls is None:
        return []
    said = {"TLS_CERT_EXPIRES": tls.soon(), "TLS_FILES_UNUSABLE": tls.complaint}
    return [pb.Advice(reason=reason, text=text) for reason, text in said.items() if text]


def _about_callers(identities: Identities | None) -> list[pb.Advice]:
    if identities is None:
        return []
    said = {"AUTH_FILE_UNUSABLE": identities.complaint}
    if identities.tokens is not None:
        said["JWT_KEYS_UNUSABLE"] = identities.tokens.complaint
    return [pb.Advice(reason=reason, text=text) for reason, text in said.items() if text]


def _why_not_ready(error: Unavailable) -> list[pb.Advice]:
    """What an operator can do about a Redis that does not serve; its own words may name hosts and users."""
    if isinstance(error, ReadOnly):
        text = "Redis is read-only: have the broker's address lead to the primary, this one is most likely a replica"
        return [pb.Advice(reason="REDIS_READ_ONLY", text=text)]
    if isinstance(error, Refused):
        text = "Redis does not let the broker in: it wants other credentials, or more rights for the broker's user"
        return [pb.Advice(reason="REDIS_REFUSES", text=text)]
    return []


def listed(settings: Limits) -> list[tuple[str, str]]:
    """Settings by name, each value as one would write it; URLs without what may be secret, and no other secrets."""
    found = []
    for name, field in sorted(type(settings).model_fields.items()):
        is_size = any(isinstance(one, BeforeValidator) and one.func is parse_size for one in field.metadata)
        found.append((name, _written(getattr(settings, name), is_size=is_size)))
    return found


def _written(value: object, *, is_size: bool) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, timedelta):
        return format_span(value)
    if isinstance(value, int) and is_size:
        return format_size(value)
    if isinstance(value, tuple):
        return ",".join(str(part) for part in value)
    if isinstance(value, str) and "://" in value and not value.startswith("http"):
        return shown_redis_url(value)
    return str(value)
