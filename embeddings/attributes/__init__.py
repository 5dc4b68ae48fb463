"""Attributes of logos: short strings that change often, kept in SQLite beside the store of vectors."""
