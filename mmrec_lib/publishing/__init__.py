"""Publishing: tables → content of the report and the summary."""
