"""From folders of images to training batches."""
