"""Surface normals of a person in the camera frame."""
