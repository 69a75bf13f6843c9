"""What a head learns: targets, loss, metric and decoding for pose, body parts, depth and normals."""
