"""A trained detector for other engines: the whole way from pixels to detections as one graph."""
