"""One landing record → the columns of its table, or the reason why not."""
