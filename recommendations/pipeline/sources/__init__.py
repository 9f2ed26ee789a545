"""Sources: where candidates come from. Each is a frozen dataclass with its port and no other state."""
