"""The database backend for PostgreSQL, with pipelined queries."""
