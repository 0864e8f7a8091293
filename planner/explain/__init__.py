"""A plan in words, tables and JSON. Nothing else formats."""
