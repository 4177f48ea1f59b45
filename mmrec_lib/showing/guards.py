"""Guards against rules and deliveries that would empty the lists."""

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


def check_shrinkage(num_items: int, num_before: int, max_shrinkage: float) -> None:
    """Refuse a catalogue that lost too many items since the slice before.

    Args:
        num_items: Items now.
        num_before: Items of the slice before; 0 where there was none.
        max_shrinkage: Largest share of them that may be gone.

    Raises:
        ShowingError: When more are gone.
    """
    if num_before - num_items > max_shrinkage * num_before:
        raise ShowingError(
            f"items: at most {max_shrinkage:.0%} of the catalogue may be gone since the published slice "
            f"(showing.max_shrinkage), but of {num_before:,} items {num_items:,} are left. Deliver the items again, or "
            "raise the share if that is meant."
        )
