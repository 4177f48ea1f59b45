"""Maintenance of all tables by their contracts."""

from __future__ import annotations

from datetime import datetime, timedelta

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.lakehouse.config import MaintenanceConfig
from mmrec_lib.lakehouse.tables import Lakehouse


def maintain_all(lakehouse: Lakehouse, config: MaintenanceConfig, now: datetime) -> dict[str, int]:
    """OPTIMIZE, VACUUM and retention for every table that exists.

    Returns:
        Expired rows and compacted files by table, where there were any.
    """
    counts = {}
    for contract in CONTRACTS.values():
        if not lakehouse.exists(contract.name):
            continue
        before = now - timedelta(days=contract.retention_days) if contract.retention_days is not None else None
        for what, number in lakehouse.maintain(contract.name, config.retain_hours, before).items():
            if number:
                counts[f"{contract.name}.{what}"] = number
    return counts
