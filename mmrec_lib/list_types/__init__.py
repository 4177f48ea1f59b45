"""List types over tables: counts by Spark → lists by item and by audience, checked and published."""
