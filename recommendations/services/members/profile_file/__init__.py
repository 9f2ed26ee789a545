"""A member's profile as a file: its schema, its export and its import."""
