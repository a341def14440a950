"""Face recognition you can trust."""
