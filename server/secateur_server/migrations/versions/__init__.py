"""The database's schema, step by step; `adapters.schema` brings each database here."""
