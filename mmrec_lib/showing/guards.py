"""Guard against rules that would empty the lists."""

from __future__ import annotations

from mmrec_lib.errors import ShowingError


def check_removed_share(subject: str, num_removed: int, num_items: int, max_share: float) -> None:
    """Refuse a rule that removes too much of the catalogue.

    Args:
        subject: What removes the items, as the sentence names it.
        num_removed: Available items that it removes.
        num_items: Available items.
        max_share: Largest share that may be removed.

    Raises:
        ShowingError: When the share is larger.
    """
    if num_items and num_removed > max_share * num_items:
        raise ShowingError(
            f"{subject}: at most {max_share:.0%} of the available items may be removed (showing.max_removed_share), "
            f"but it removes {num_removed:,} of {num_items:,}. Narrow it, or raise the share if that is meant."
        )
