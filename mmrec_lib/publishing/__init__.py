"""Publishing: tables → what the report and the summary show."""
