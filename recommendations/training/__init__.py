"""Training of the collaborative models: arithmetic on columns, without a database and without a clock."""
