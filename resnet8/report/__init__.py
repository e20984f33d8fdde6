"""The report (one HTML file) and the figures of layers."""
