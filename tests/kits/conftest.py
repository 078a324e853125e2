"""The fixtures that the kits give to pytest, whether or not dibs is installed."""

from __future__ import annotations

from dibs.testing.plugin import dibs_broker, dibs_eager, dibs_instances, dibs_recorded, dibs_target, dibs_worker

__all__ = ["dibs_broker", "dibs_eager", "dibs_instances", "dibs_recorded", "dibs_target", "dibs_worker"]
