"""What every stage builds on: parameters, files, errors, processes, images and predictions."""
