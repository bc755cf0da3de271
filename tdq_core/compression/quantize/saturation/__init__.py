"""What x86 CPUs without VNNI compute of an int8 file: pairs of products saturate in 16 bits.

Their instruction `vpmaddubsw` multiplies unsigned by signed bytes and adds neighbours in 16 bits, with saturation,
before anything is widened. `pairs` is that law; `running` finds what ONNX Runtime runs with it, `emulated` runs the
file that way on any CPU, and `seven_bits` keeps weights so small that nothing saturates.
"""
