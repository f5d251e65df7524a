"""What runs a net: OpenVINO on CPUs, PyTorch on GPUs, ONNX files that people bring."""
