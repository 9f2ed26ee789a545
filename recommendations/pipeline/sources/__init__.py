"""Sources of candidates. Each is a frozen dataclass that holds its port and no other state."""
