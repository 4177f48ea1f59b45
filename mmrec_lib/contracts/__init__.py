"""Contracts: what each table is."""

from mmrec_lib.contracts.alignment import ALIGNMENT
from mmrec_lib.contracts.bronze import BRONZE
from mmrec_lib.contracts.gold import GOLD
from mmrec_lib.contracts.learning import LEARNING
from mmrec_lib.contracts.runs import RUNS
from mmrec_lib.contracts.silver import SILVER
from mmrec_lib.contracts.table import AUDIT_COLUMNS, Check, Column, TableContract

CONTRACTS: dict[str, TableContract] = {c.name: c for c in (*BRONZE, *SILVER, *GOLD, *RUNS, *LEARNING, *ALIGNMENT)}

__all__ = ["AUDIT_COLUMNS", "CONTRACTS", "Check", "Column", "TableContract"]
