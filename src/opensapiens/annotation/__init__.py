"""Labels before and after a person has seen them: pre-labels, agreement between calibrated views, review lists."""
