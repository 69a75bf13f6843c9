"""2D keypoints as heatmaps (UDP)."""
