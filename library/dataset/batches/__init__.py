"""From the images of a run to training batches."""
