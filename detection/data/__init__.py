"""Data sets: readers, the image loader, checks, and training batches."""
