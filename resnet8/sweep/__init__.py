"""Many calibrations, types and methods, measured side by side on Dask."""
