"""The report (one HTML file), figures and tables for plots."""
