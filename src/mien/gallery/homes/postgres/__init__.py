"""The gallery's home in PostgreSQL with pgvector. Importing it is light: psycopg is loaded when a home is opened."""

from mien.gallery.homes.postgres.home import PostgresHome

__all__ = ["PostgresHome"]
