"""The embedded sample: what draws its images and the model trained on them."""
