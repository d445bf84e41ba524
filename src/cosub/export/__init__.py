"""A finished run as a network that works without cosub: timm's checkpoint, ONNX, the Hub."""
