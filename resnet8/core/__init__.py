"""Parameters, files, errors, processes, data and predictions; no framework."""

from resnet8.core.cpu import hold_kernels

hold_kernels()  # on import, because PyTorch reads it while it is imported
