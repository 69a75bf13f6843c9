"""Body parts as a class per pixel."""
