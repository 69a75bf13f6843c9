"""Files on disk: reads of untrusted files, and atomic writes."""
