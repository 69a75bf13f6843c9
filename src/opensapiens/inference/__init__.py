"""From a photo, a folder or a video to people: boxes, crops, one pass for all heads, results in image coordinates."""
