"""Post-training quantization of a CIFAR-10 ResNet8: the library behind `stages/`."""
