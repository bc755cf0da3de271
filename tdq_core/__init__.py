"""TDQ: measure how tensor decomposition and quantization compress convolutional networks together."""
