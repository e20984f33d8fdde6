"""Post-training quantization of a CIFAR-10 ResNet8: the library behind `stages/`."""

from resnet8.core.cpu import hold_kernels

hold_kernels()  # here, because PyTorch reads it while it is imported
