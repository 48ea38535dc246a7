"""The Django site of the comparison: a few views, one table, production settings."""
