"""Files on disk: read without trust, written whole."""
