"""A member's profile as a file: its form, how it is written, how it is taken in."""
