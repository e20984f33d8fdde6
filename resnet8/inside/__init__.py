"""What happens inside the models: captures, statistics, sensitivity."""
