"""A page in the browser: drop photos or a video, look at what is predicted, download it."""
